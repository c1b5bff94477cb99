//go:build !unix

package linkbench

// processUsage is not known here.
func processUsage() Usage { return Usage{} }
