package burst

import (
	"errors"
	"reflect"
	"unsafe"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"github.com/pion/webrtc/v4"
)

var errNoKeys = errors.New("the connection's DTLS keys are out of reach")

// keys derives a connection's SRTP keys (RFC 5764, section 4.2). pion/webrtc has no way
// to ask for the dtls.Conn that can export them, so its field is read; when a later
// version has another, the media stays with pion and the tests say so.
func keys(pc *webrtc.PeerConnection, client bool) (*srtp.Config, error) {
	t := pc.SCTP().Transport()
	f := reflect.ValueOf(t).Elem().FieldByName("conn")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*dtls.Conn]() {
		return nil, errNoKeys
	}
	conn := *(**dtls.Conn)(unsafe.Pointer(f.UnsafeAddr())) //nolint:gosec // see above
	if conn == nil {
		return nil, errNoKeys
	}
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, errNoKeys
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errNoKeys
	}
	cfg := &srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	return cfg, cfg.ExtractSessionKeysFromDTLS(&state, client)
}
