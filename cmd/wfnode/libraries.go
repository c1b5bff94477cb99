package main

import (
	"context"
	stdlog "log"
	"log/slog"
	"os"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// adoptLibraries sends what the libraries log for the whole process to log, at debug
// level: what matters of it comes back as an error, which a person can read. Who sets
// GOLOG_LOG_LEVEL wants libp2p's own output and gets it.
func adoptLibraries(log *slog.Logger) {
	quiet := slog.NewLogLogger(log.With("part", "library").Handler(), slog.LevelDebug)
	stdlog.SetFlags(0)
	stdlog.SetOutput(quiet.Writer())
	if os.Getenv("GOLOG_LOG_LEVEL") != "" {
		return
	}
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		gologshim.SetDefaultHandler(slog.DiscardHandler)
		golog.SetAllLoggers(golog.LevelFatal)
		return
	}
	gologshim.SetDefaultHandler(log.Handler())
}
