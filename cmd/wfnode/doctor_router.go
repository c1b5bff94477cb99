package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/watergy/waterfall/dht/natpmp"
	"github.com/watergy/waterfall/node"
)

// routerSays is what came of asking the router whether it opens ports.
type routerSays struct {
	asked  bool
	speaks string     // UPnP or NAT-PMP; empty: neither
	outer  netip.Addr // as it says itself
}

// asksRouter says whether a node with these flags asks its router to open ports.
func asksRouter(mapPorts bool, listen []ma.Multiaddr) bool {
	return mapPorts && !slices.ContainsFunc(listen, manet.IsIPLoopback)
}

// askRouter has no port opened. Who speaks neither is known after 2 s.
func askRouter(ctx context.Context) routerSays {
	ways := [...]func(context.Context) routerSays{askNATPMP, askUPnP}
	answers := make(chan routerSays, len(ways))
	for _, ask := range ways {
		go func() { answers <- ask(ctx) }()
	}
	said := routerSays{asked: true}
	for range ways {
		select {
		case a := <-answers:
			if a.speaks != "" {
				return a
			}
		case <-ctx.Done():
			return said
		}
	}
	return said
}

func askNATPMP(ctx context.Context) routerSays {
	r, err := natpmp.Find(ctx)
	if err != nil {
		return routerSays{asked: true}
	}
	defer r.Close() //nolint:errcheck // nothing was opened
	return routerSays{asked: true, speaks: "NAT-PMP", outer: r.Outer()}
}

// gateway is the part of the services of UPnP's gateways that tells their outer address.
type gateway interface {
	GetExternalIPAddressCtx(context.Context) (string, error)
}

func askUPnP(ctx context.Context) routerSays {
	said := routerSays{asked: true}
	devices, err := goupnp.DiscoverDevicesCtx(ctx, internetgateway2.URN_WANConnectionDevice_1)
	if err != nil {
		return said
	}
	for _, d := range devices {
		for _, g := range gateways(d) {
			text, err := g.GetExternalIPAddressCtx(ctx)
			if err != nil {
				continue
			}
			said.speaks = "UPnP"
			if said.outer, err = netip.ParseAddr(text); err == nil {
				return said
			}
		}
	}
	return said
}

// gateways are the services that open ports; a device that has none of a kind is an error there.
func gateways(d goupnp.MaybeRootDevice) (all []gateway) {
	if d.Err != nil {
		return nil
	}
	ip, _ := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(d.Root, d.Location)
	for _, g := range ip {
		all = append(all, g)
	}
	ip2, _ := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(d.Root, d.Location)
	for _, g := range ip2 {
		all = append(all, g)
	}
	ppp, _ := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(d.Root, d.Location)
	for _, g := range ppp {
		all = append(all, g)
	}
	return all
}

// judgeRouter says what the router does for who is to be reached by everybody; nat is
// the NAT's kind.
func judgeRouter(r routerSays, nat string) finding {
	f := finding{Name: "router", Grade: unknown, Found: "not asked to open ports (--map-ports=false, or all is on this machine)"}
	switch {
	case !r.asked:
	case nat == "none":
		f.Grade, f.Found = good, "need open no port: there is no NAT"
	case r.speaks == "":
		f.Grade, f.Found = fair, "opens no ports by itself: speaks neither UPnP nor NAT-PMP"
		f.Advice = "for everybody to reach you, forward UDP ports to this machine and use --media-ports A-B"
	case !r.outer.IsValid() || !node.Public(r.outer):
		f.Grade, f.Found = fair, fmt.Sprintf("opens ports (%s), but is not on the internet itself: there is another NAT before it", r.speaks)
		f.Advice = "you take part all the same; the provider may give you an address of your own"
	default:
		f.Grade, f.Found = good, fmt.Sprintf("opens ports (%s) when asked; its address is %v", r.speaks, r.outer)
		f.Advice = "for everybody to reach you, use --media-ports A-B: it is asked to open those"
	}
	return f
}
