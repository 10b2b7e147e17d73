package s6a

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Bits of IDR-Flags, TS 29.272 7.3.103.
const (
	idrUserState       uint32 = 1 << 2
	idrLocation        uint32 = 1 << 3
	idrCurrentLocation uint32 = 1 << 4
)

// userStates are the values of User-State, TS 29.272 7.3.112.
var userStates = []string{"detached", "attached, not reachable for paging", "attached, reachable for paging", "connected, not reachable for paging", "connected, reachable for paging", "network determined not reachable"}

// Locate asks the nodes that serve a SIM for its state and location, TS 29.272 5.2.2.1.1; current has the device paged.
// The error is store.ErrUnknown for a SIM that is not there.
func (s *Server) Locate(ctx context.Context, peers Peers, imsi identity.IMSI, current bool) ([]subscriber.NodeLocation, error) {
	sub, _, err := s.store.Get(ctx, imsi)
	if err != nil {
		return nil, err
	}
	flags := idrUserState | idrLocation
	if current {
		flags |= idrCurrentLocation
	}
	all := []subscriber.NodeLocation{}
	sides := sub.Sides()
	for _, side := range slices.Sorted(maps.Keys(sides)) {
		r := sides[side]
		n, err := s.node(ctx, r.Host)
		if err != nil {
			return nil, err
		}
		ans, err := peers.Send(ctx, diameter.Outgoing{
			Host: r.Host, Realm: r.Realm, Via: n.Via, Application: ApplicationID, Command: commandIDR,
			AVPs: []diameter.AVP{
				diameter.UserName.Text(string(imsi)),
				ourFeatures(),
				subscriptionData.Group(), // required, and empty: nothing changes
				idrFlags.Unsigned(flags),
			},
		})
		if err != nil {
			return nil, fmt.Errorf("asking %s: %w", r.Host, err)
		}
		all = append(all, locationOf(ans, r.Host, side))
	}
	return all, nil
}

// locationOf reads an IDA, TS 29.272 5.2.2.1.
func locationOf(ans diameter.Message, host string, side subscriber.Side) subscriber.NodeLocation {
	l := subscriber.NodeLocation{Host: host, Side: side}
	state, hasState := ans.First(epsUserState)
	place, hasPlace := ans.First(epsLocation)
	l.Unsupported = !hasState && !hasPlace
	for _, node := range state.Members { // MME-User-State or SGSN-User-State
		for _, a := range node.Members {
			if v := a.Unsigned(); int(v) < len(userStates) {
				l.State = userStates[v]
			}
		}
	}
	for _, node := range place.Members {
		for _, a := range node.Members {
			if a.Def == nil {
				continue
			}
			switch name := a.Def.Name; {
			case strings.HasSuffix(name, "Cell-Global-Identity"):
				l.Cell = hex.EncodeToString(a.Data)
			case name == "Tracking-Area-Identity", name == "Routing-Area-Identity":
				l.Area = hex.EncodeToString(a.Data)
			case name == "Age-Of-Location-Information":
				l.Age = time.Duration(a.Unsigned()) * time.Minute
			}
		}
	}
	return l
}

// ourFeatures are what we say in requests of our own, TS 29.229 7.2.1.
func ourFeatures() diameter.AVP {
	return supportedFeatures.Group(diameter.VendorID.Unsigned(diameter.Vendor3GPP), featureListID.Unsigned(1), featureList.Unsigned(features(1)))
}
