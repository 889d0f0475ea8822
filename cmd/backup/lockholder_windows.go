package main

// lockHolder would be the id of the process that has locked the file; Windows
// does not tell.
func lockHolder(string) int { return 0 }
