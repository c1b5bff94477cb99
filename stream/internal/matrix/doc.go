// Package matrix holds one test: every input with every codec to every output, by real
// programs where there are any.
package matrix
