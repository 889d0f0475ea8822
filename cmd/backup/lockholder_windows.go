package main

// lockHolder returns 0: Windows does not tell which process has locked a file.
func lockHolder(string) int { return 0 }
