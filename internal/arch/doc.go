// Package arch holds no code, only tests: they keep the layout of the tree, the
// directions of its imports and the house rules from being eroded unnoticed.
//
// Every rule is a function from the files of one directory to findings. The rules
// are listed in arch_test.go and each is itself tested on small sources there, so
// that a rule cannot silently stop working. There are no exemptions by line or by
// file: a rule that is wrong is changed, for everybody.
package arch
