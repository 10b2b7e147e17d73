package topology

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Network is a plan that was built.
type Network struct {
	plan       Plan
	namespaces map[string]*Namespace
}

// Build makes everything that the plan lists. When a step fails it removes what it has made.
func Build(plan Plan) (network *Network, err error) {
	n := &Network{plan: plan, namespaces: map[string]*Namespace{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	for _, name := range plan.Namespaces {
		ns, err := Create(plan.Prefix + name)
		if err != nil {
			return nil, err
		}
		n.namespaces[name] = ns
		if err := prepare(ns, slices.Contains(plan.Routers, name)); err != nil {
			return nil, err
		}
	}
	for _, link := range plan.Links {
		if err := n.link(link); err != nil {
			return nil, err
		}
	}
	for _, l := range plan.Loopbacks {
		if err := n.address(l.Namespace, "lo", netip.PrefixFrom(l.Address, l.Address.BitLen())); err != nil {
			return nil, err
		}
	}
	for _, r := range plan.Routes {
		if err := n.route(r); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Namespace gives a namespace of the plan by its name without prefix; nil when the plan has none of that name.
func (n *Network) Namespace(name string) *Namespace { return n.namespaces[name] }

// Plan is what the network was built from.
func (n *Network) Plan() Plan { return n.plan }

// Close removes the namespaces and all that is in them.
func (n *Network) Close() error {
	var errs []error
	for name, ns := range n.namespaces {
		errs = append(errs, ns.Close(), Remove(n.plan.Prefix+name))
	}
	n.namespaces = map[string]*Namespace{}
	return errors.Join(errs...)
}

// Leftovers names the namespaces on this host that a plan with this prefix has made, whatever its size was.
func Leftovers(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), prefix); ok && planned(name) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// planned says whether Demo uses that name.
func planned(name string) bool {
	if slices.Contains([]string{IPX, Control, Core, Visited, HSS, PGWC}, name) {
		return true
	}
	for _, kind := range []string{"pgwu", "ue"} {
		if digits, ok := strings.CutPrefix(name, kind); ok {
			n, err := strconv.Atoi(digits)
			return err == nil && n >= 1 && digits == strconv.Itoa(n)
		}
	}
	return false
}

// prepare sets up a new namespace: loopback up, IPv6 only where the plan has an address of it, no reverse-path filter, forwarding in routers.
func prepare(ns *Namespace, router bool) error {
	settings := [][2]string{
		{"ipv6/conf/all/disable_ipv6", "1"},
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
	}
	if router {
		settings = append(settings, [2]string{"ipv4/ip_forward", "1"}, [2]string{"ipv6/conf/all/forwarding", "1"})
	}
	for _, s := range settings {
		if err := ns.sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return ns.WithNetlink(func(h *netlink.Handle) error { return up(h, "lo") })
}

// WithNetlink runs fn with a netlink handle into the namespace.
func (n *Namespace) WithNetlink(fn func(*netlink.Handle) error) error {
	n.mu.RLock()
	h, err := netlink.NewHandleAt(n.handle)
	n.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("open netlink in namespace %s: %w", n.name, err)
	}
	defer h.Close()
	return fn(h)
}

// link makes a veth pair with both ends where they belong, so that no name of the host's is ever used.
func (n *Network) link(l Link) error {
	a, b := n.namespaces[l.A.Namespace], n.namespaces[l.B.Namespace]
	if a == nil || b == nil {
		return fmt.Errorf("link %s to %s: no such namespace in the plan", l.A.Namespace, l.B.Namespace)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.A.Port
	veth := netlink.NewVeth(attrs)
	veth.PeerName = l.B.Port
	veth.PeerNamespace = netlink.NsFd(b.handle)
	if err := a.WithNetlink(func(h *netlink.Handle) error { return h.LinkAdd(veth) }); err != nil {
		return fmt.Errorf("link %s %s to %s %s: %w", a.name, l.A.Port, b.name, l.B.Port, err)
	}
	ends := []End{l.A, l.B}
	// Offloads of both ends before either is up: when a veth comes up it looks whether its peer polls (GRO), and
	// keeps refusing redirected frames if it does not yet (NETDEV_XDP_ACT_NDO_XMIT, Linux 6.3).
	for _, end := range ends {
		ns := n.namespaces[end.Namespace]
		if err := ns.Do(func() error { return switchOffloads(end.Port, end.FacesXDP) }); err != nil {
			return fmt.Errorf("switch offloads of %s %s: %w", ns.name, end.Port, err)
		}
	}
	for _, end := range ends {
		if err := n.bringUp(end); err != nil {
			return err
		}
	}
	return nil
}

// bringUp brings a port up and gives it its addresses.
func (n *Network) bringUp(end End) error {
	ns := n.namespaces[end.Namespace]
	if err := ns.WithNetlink(func(h *netlink.Handle) error { return up(h, end.Port) }); err != nil {
		return fmt.Errorf("bring up %s %s: %w", ns.name, end.Port, err)
	}
	for _, a := range end.Addresses {
		if err := n.address(end.Namespace, end.Port, a); err != nil {
			return err
		}
	}
	return nil
}

func up(h *netlink.Handle, port string) error {
	link, err := h.LinkByName(port)
	if err != nil {
		return err
	}
	return h.LinkSetUp(link)
}

func (n *Network) address(namespace, port string, address netip.Prefix) error {
	ns := n.namespaces[namespace]
	if address.Addr().Is6() {
		for _, s := range [][2]string{{"accept_dad", "0"}, {"router_solicitations", "0"}, {"disable_ipv6", "0"}} {
			if err := ns.sysctl("ipv6/conf/"+port+"/"+s[0], s[1]); err != nil {
				return err
			}
		}
	}
	err := ns.WithNetlink(func(h *netlink.Handle) error { return AddAddress(h, port, address) })
	if err != nil {
		return fmt.Errorf("add %s to %s %s: %w", address, ns.name, port, err)
	}
	return nil
}

// AddAddress gives a port an address.
func AddAddress(h *netlink.Handle, port string, address netip.Prefix) error {
	link, err := h.LinkByName(port)
	if err != nil {
		return err
	}
	return h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)})
}

func (n *Network) route(r Route) error {
	ns := n.namespaces[r.Namespace]
	err := ns.WithNetlink(func(h *netlink.Handle) error {
		return h.RouteAdd(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice()})
	})
	if err != nil {
		return fmt.Errorf("route %s by %s in %s: %w", r.To, r.Via, ns.name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
