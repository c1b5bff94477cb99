package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	ntpSize     = 48
	ntpRequest  = 4<<3 | 3 // version 4, mode client (RFC 5905, section 7.3)
	ntpModeMask = 7
	ntpServer   = 4
	ntpEpoch    = 2208988800 // seconds from 1900 to 1970
)

// askTime is how far this machine's clock is behind that of a time server
// (SNTP, RFC 5905 section 14): positive when the server is ahead.
func askTime(ctx context.Context, server string) (time.Duration, error) {
	var dial net.Dialer
	conn, err := dial.DialContext(ctx, "udp", server)
	if err != nil {
		return 0, fmt.Errorf("time server %s: %w", server, err)
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	request := make([]byte, ntpSize)
	request[0] = ntpRequest
	sent := time.Now()
	binary.BigEndian.PutUint64(request[40:], ntpTime(sent))
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("time server %s: %w", server, err)
	}
	answer := make([]byte, 512)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return 0, fmt.Errorf("time server %s: %w", server, err)
		}
		if offset, err := ntpOffset(answer[:n], sent, time.Now()); err == nil {
			return offset, nil
		}
	}
}

var errNoTime = errors.New("no answer to our question")

// ntpOffset reads the answer to the request sent then: ((T2-T1) + (T3-T4)) / 2. The
// differences stay right when the era changes in 2036.
func ntpOffset(answer []byte, sent, came time.Time) (time.Duration, error) {
	if len(answer) < ntpSize || answer[0]&ntpModeMask != ntpServer || answer[1] == 0 || answer[1] > 15 {
		return 0, errNoTime
	}
	t1 := ntpTime(sent)
	if binary.BigEndian.Uint64(answer[24:]) != t1 {
		return 0, errNoTime
	}
	out := int64(binary.BigEndian.Uint64(answer[32:]) - t1)
	back := int64(binary.BigEndian.Uint64(answer[40:]) - ntpTime(came))
	seconds := (float64(out)/2 + float64(back)/2) / (1 << 32)
	return time.Duration(seconds * float64(time.Second)), nil
}

// ntpTime is a time in NTP's 32.32 fixed point.
func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
