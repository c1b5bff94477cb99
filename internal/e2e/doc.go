// Package e2e runs wfnode as people do: real processes on loopback and in network
// namespaces, with ffmpeg, Chromium and kill -9 around them. Its tests and benchmarks
// show the figures of docs/measurements.md.
package e2e
