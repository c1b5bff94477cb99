package dht

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	"google.golang.org/protobuf/proto"
)

const (
	// askTime is how long a DHT server may take to be dialled and to answer: four round
	// trips at most, by TCP some more. kad-dht's own 10 s are as long as a put may take in all,
	// and a put waits for each server near its key.
	askTime = 2 * time.Second
	// maxReply bounds an answer: it lists a bucket's providers.
	maxReply = 1 << 20
)

// sender asks DHT servers, each time by a stream of its own (libp2p kad-dht specification,
// "RPC messages"). It takes the place of kad-dht's, which a server can keep waiting, and
// whose caller ends the process at an answer that lacks the value that was put.
type sender struct {
	host   host.Host
	protos []protocol.ID
}

func newSender(h host.Host, protos []protocol.ID) dhtpb.MessageSenderWithDisconnect {
	return sender{h, protos}
}

// OnDisconnect implements pb.MessageSenderWithDisconnect.
func (sender) OnDisconnect(context.Context, peer.ID) {}

// SendMessage implements pb.MessageSender.
func (s sender) SendMessage(ctx context.Context, p peer.ID, m *dhtpb.Message) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := s.say(ctx, p, m)
	if err != nil {
		return err
	}
	return st.Close()
}

// SendRequest implements pb.MessageSender.
func (s sender) SendRequest(ctx context.Context, p peer.ID, m *dhtpb.Message) (*dhtpb.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := s.say(ctx, p, m)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { _ = st.Reset() })
	defer stop()
	reply, err := readReply(st, m)
	if err != nil {
		_ = st.Reset()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("asking a DHT server: %w", err)
	}
	return reply, nil
}

// readReply reads the answer to m.
func readReply(r io.Reader, m *dhtpb.Message) (*dhtpb.Message, error) {
	b, err := msgio.NewVarintReaderSize(r, maxReply).ReadMsg()
	if err != nil {
		return nil, err
	}
	reply := new(dhtpb.Message)
	if err := proto.Unmarshal(b, reply); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if m.Record != nil && reply.Record == nil {
		return nil, errNotStored
	}
	return reply, nil
}

var errNotStored = errors.New("the DHT server has not stored the value")

// say opens a stream and sends m.
func (s sender) say(ctx context.Context, p peer.ID, m *dhtpb.Message) (network.Stream, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a DHT message: %w", err)
	}
	st, err := s.host.NewStream(ctx, p, s.protos...)
	if err != nil {
		return nil, fmt.Errorf("asking a DHT server: %w", err)
	}
	if end, ok := ctx.Deadline(); ok {
		_ = st.SetDeadline(end) // streams in memory have none; ctx ends those
	}
	if err := msgio.NewVarintWriter(st).WriteMsg(b); err != nil {
		_ = st.Reset()
		return nil, fmt.Errorf("asking a DHT server: %w", err)
	}
	return st, nil
}
