// Package ignore matches paths against patterns, exactly as Git does with the lines of a
// .gitignore file (gitignore(5)).
//
// A [Pattern] is one line, a [List] the lines of one file. Of the patterns of a list that match
// a path, the last one decides. Paths are relative to the folder that the list belongs to,
// have slashes, and are bytes: ? and a set match one byte, and nothing matches a slash except
// ** and the slash itself. Whoever walks a tree does not enter a folder that is ignored, so
// nothing below it can be taken back by a "!" pattern.
//
// The package reads no files. It is our own because the libraries for it differ from Git in
// details, such as [[:digit:]], a** or an escaped blank at the end; its test asks Git itself.
package ignore
