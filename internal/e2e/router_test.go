package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
)

// routerEnv, in the environment of this test's binary, makes it a router that opens ports,
// for what the value says: upnp or natpmp.
const routerEnv = "WF_ROUTER"

// The router's two sides, as home makes them.
const routerIn, routerOut = "in", "out"

// openingRouter is a home's router that opens ports for who asks, by nft.
type openingRouter struct {
	outer netip.Addr
}

// serveRouter is the router's process; it ends with the test. It says what it does, a line each.
func serveRouter(by string) error {
	outer, err := addressOf(routerOut)
	if err != nil {
		return err
	}
	r := openingRouter{outer}
	if err := nft(`add chain ip nat pre { type nat hook prerouting priority dstnat; }; add rule ip wall forward ct status dnat accept`); err != nil {
		return err
	}
	if by == "natpmp" {
		return r.natPMP()
	}
	return r.upnp()
}

func nft(rules string) error {
	if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
		return fmt.Errorf("nft %s: %w: %s", rules, err, out)
	}
	return nil
}

func addressOf(name string) (netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address", name)
}

// open lets in what comes to the outer port. Asked again, it says so again: rules of the
// same words do no harm.
func (r openingRouter) open(protocol string, outer int, to netip.AddrPort) error {
	if err := nft(fmt.Sprintf(`add rule ip nat pre iifname "%s" %s dport %d dnat to %v`, routerOut, protocol, outer, to)); err != nil {
		return err
	}
	fmt.Println("open", protocol, outer, to)
	return nil
}

// upnp answers searches (UPnP Device Architecture 1.0, section 1.2) and is an Internet
// Gateway Device 1 with a WANIPConnection service.
func (r openingRouter) upnp() error {
	inner, err := addressOf(routerIn)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp4", netip.AddrPortFrom(inner, 5000).String())
	if err != nil {
		return err
	}
	ssdp, err := net.InterfaceByName(routerIn)
	if err != nil {
		return err
	}
	group, err := net.ListenMulticastUDP("udp4", ssdp, &net.UDPAddr{IP: net.IPv4(239, 255, 255, 250), Port: 1900})
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := group.ReadFrom(buf)
			if err != nil {
				return
			}
			asked := regexp.MustCompile(`(?m)^ST: *(urn:schemas-upnp-org:device:WANConnectionDevice:1)\r$`).FindSubmatch(buf[:n])
			if asked != nil {
				fmt.Fprintf(udpTo{group, from}, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\nLOCATION: http://%v/igd.xml\r\nST: %s\r\nUSN: uuid:1::%[2]s\r\n\r\n",
					web.Addr(), asked[1])
			}
		}
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /igd.xml", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, igdXML) })
	mux.HandleFunc("POST /control", r.soap)
	fmt.Println("ready")
	return http.Serve(web, mux)
}

// udpTo writes packets to one place.
type udpTo struct {
	net.PacketConn
	to net.Addr
}

func (u udpTo) Write(b []byte) (int, error) { return u.WriteTo(b, u.to) }

const igdXML = `<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>router</friendlyName><UDN>uuid:0</UDN>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><UDN>uuid:1</UDN>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><UDN>uuid:2</UDN>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/events</eventSubURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>`

// soap answers the four actions of WANIPConnection:1 that matter here.
func (r openingRouter) soap(w http.ResponseWriter, req *http.Request) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	arg := func(name string) string {
		if m := regexp.MustCompile("<" + name + ">([^<]*)</").FindSubmatch(b); m != nil {
			return string(m[1])
		}
		return ""
	}
	_, action, _ := strings.Cut(strings.Trim(req.Header.Get("SOAPAction"), `"`), "#")
	answer := ""
	switch action {
	case "GetNATRSIPStatus":
		answer = "<NewRSIPAvailable>0</NewRSIPAvailable><NewNATEnabled>1</NewNATEnabled>"
	case "GetExternalIPAddress":
		answer = fmt.Sprintf("<NewExternalIPAddress>%v</NewExternalIPAddress>", r.outer)
	case "AddPortMapping":
		outer, _ := strconv.Atoi(arg("NewExternalPort"))
		to, err := netip.ParseAddrPort(arg("NewInternalClient") + ":" + arg("NewInternalPort"))
		if err == nil {
			err = r.open(strings.ToLower(arg("NewProtocol")), outer, to)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	case "DeletePortMapping":
		fmt.Println("close", strings.ToLower(arg("NewProtocol")), arg("NewExternalPort"))
	}
	fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`+
		`<u:%sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">%s</u:%[1]sResponse></s:Body></s:Envelope>`, action, answer)
}

// natPMP answers the requests of RFC 6886, sections 3.2 and 3.3.
func (r openingRouter) natPMP() error {
	conn, err := net.ListenPacket("udp4", ":5351")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	buf := make([]byte, 64)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if n < 2 || buf[0] != 0 {
			continue
		}
		answer := []byte{0, 128 + buf[1], 0, 0, 0, 0, 0, 1} // version, code, result, seconds since start
		switch op := buf[1]; {
		case op == 0:
			answer = append(answer, r.outer.AsSlice()...)
		case (op == 1 || op == 2) && n >= 12:
			inner, outer := binary.BigEndian.Uint16(buf[4:]), binary.BigEndian.Uint16(buf[6:])
			if binary.BigEndian.Uint32(buf[8:]) == 0 {
				fmt.Println("close", []string{1: "udp", 2: "tcp"}[op], inner)
			} else if err := r.open([]string{1: "udp", 2: "tcp"}[op], int(outer), netip.AddrPortFrom(from.(*net.UDPAddr).AddrPort().Addr().Unmap(), inner)); err != nil {
				return err
			}
			answer = append(answer, buf[4:12]...)
		default:
			continue
		}
		if _, err := conn.WriteTo(answer, from); err != nil {
			return err
		}
	}
}

// opens makes a home's router one that opens ports; said gets what it says.
func (ns *namespace) opens(t testing.TB, by string) (said <-chan string) {
	t.Helper()
	need.Program(t, "nft")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, ns.ip, "netns", "exec", ns.name, exe)
	cmd.Env = append(os.Environ(), routerEnv+"="+by)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 4096)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			select {
			case lines <- scan.Text():
			default: // nobody reads any more
			}
		}
	}()
	t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	if first, ok := <-lines; !ok || first != "ready" {
		t.Fatalf("the router said %q", first)
	}
	return lines
}

// A speaker behind a symmetric NAT is out of reach of who sits behind another one
// (TestOutOfReach), unless its router opens ports. It opens them for the DHT too, and when
// the speaker leaves it closes them again.
func TestRouterOpensPorts(t *testing.T) {
	for _, by := range []string{"upnp", "natpmp"} {
		t.Run(by, func(t *testing.T) {
			in := newInternet(t)
			at := in.home("symmetric")
			said := in.router.opens(t, by)
			at.env = []string{"WFNODE_MAP_PORTS=true"}
			speaker := in.start("speaker", at, "speak", "--input", "test", "--media-ports", "50000-50007")
			speaker.Live(15 * time.Second)
			eventually(t, 20*time.Second, "the router has opened the ports", func() error {
				st, err := speaker.Status()
				if err != nil {
					return err
				}
				if st.OpenPorts == nil || *st.OpenPorts != 8 {
					return errNotYet
				}
				if st.NAT != "symmetric" {
					return fmt.Errorf("the NAT is %s", st.NAT)
				}
				if outer := "/ip4/198.51.100."; !strings.Contains(strings.Join(st.Addresses, " "), outer) {
					return errors.New("the DHT's port is not open")
				}
				return nil
			})
			t.Logf("open %.1f s after the start", time.Since(speaker.Started).Seconds())
			in.start("listener", in.home("cone"), "join", speaker.Line("room")).Live(15 * time.Second)
			speaker.Stop()
			limit := time.After(10 * time.Second)
			for closed := 0; closed < 8; {
				select {
				case line := <-said:
					if strings.HasPrefix(line, "close udp ") {
						closed++
					}
				case <-limit:
					t.Fatalf("%d ports were closed", closed)
				}
			}
		})
	}
}
