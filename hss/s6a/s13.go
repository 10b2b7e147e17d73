package s6a

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// S13ID is the application of S13, TS 29.272 7.1.8.
const S13ID uint32 = 16777252

const commandECR uint32 = 324

// EquipmentConfig are the lists of devices, TS 22.016 3: a TAC (8 digits), the first 14 digits of an IMEI, or any prefix
// of 1 to 14. The longest that fits decides.
type EquipmentConfig struct {
	White   []string `yaml:"white"`
	Grey    []string `yaml:"grey"`
	Black   []string `yaml:"black"`
	Unknown string   `yaml:"unknown"` // what a device is that no list has: white, grey, black, or refuse with 5422
}

// Equipment-Status, TS 29.272 7.3.51.
var equipmentStatus = map[string]uint32{"white": 0, "black": 1, "grey": 2}

const equipmentRefuse = "refuse"

// Validate lists every fault, each beginning with its key.
func (c EquipmentConfig) Validate() error {
	var faults []error
	for name, list := range c.lists() {
		for i, s := range list {
			if s == "" || len(s) > 14 || strings.Trim(s, "0123456789") != "" {
				faults = append(faults, fmt.Errorf("%s[%d]: %q, want 1 to 14 digits", name, i, s))
			}
		}
	}
	if _, ok := equipmentStatus[c.Unknown]; !ok && c.Unknown != equipmentRefuse {
		faults = append(faults, fmt.Errorf("unknown: %q, want white, grey, black or refuse", c.Unknown))
	}
	return errors.Join(faults...)
}

func (c EquipmentConfig) lists() map[string][]string {
	return map[string][]string{"white": c.White, "grey": c.Grey, "black": c.Black}
}

// status is the list that a device is on.
func (c EquipmentConfig) status(device string) string {
	best, status := 0, c.Unknown
	for _, name := range []string{"white", "grey", "black"} { // of the same length the stricter wins
		for _, prefix := range c.lists()[name] {
			if strings.HasPrefix(device, prefix) && len(prefix) >= best {
				best, status = len(prefix), name
			}
		}
	}
	return status
}

// S13 is the application of hosts that ask us about devices.
func (s *Server) S13() diameter.Application {
	return diameter.Application{
		ID: S13ID, Handlers: map[uint32]diameter.Handler{commandECR: s.identityCheck},
		Common: []diameter.AVP{
			diameter.VendorSpecificApplicationID.Group(diameter.VendorID.Unsigned(diameter.Vendor3GPP), diameter.AuthApplicationID.Unsigned(S13ID)),
			diameter.AuthSessionState.Unsigned(noStateMaintained),
		},
	}
}

// identityCheck answers an ECR, TS 29.272 6.2.1.1. A device that the SIM is locked out of is black for that SIM.
func (s *Server) identityCheck(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	terminal, _ := req.First(terminalInformation)
	imei, ok := diameter.First(terminal.Members, imeiAVP)
	if !ok {
		return nil, &diameter.Error{Code: diameter.MissingAVP, Failed: []diameter.AVP{terminalInformation.Group(imeiAVP.Text(""))}, Err: errors.New("no IMEI")}
	}
	device, err := subscriber.Device(imei.Text())
	if err != nil {
		return nil, invalid(terminalInformation.Group(imei), err)
	}
	status := s.cfg.Equipment.status(device)
	if locked, err := s.lockedOut(ctx, req.Text(diameter.UserName), imei.Text()); err != nil {
		return nil, s.asAnswer(err, req.Text(diameter.OriginRealm), tryElsewhere())
	} else if locked {
		status = "black"
	}
	if status == equipmentRefuse {
		return nil, experimental(subscriber.EquipmentUnknown, errors.New("the device is on no list"))
	}
	return []diameter.AVP{equipmentStatusAVP.Unsigned(equipmentStatus[status])}, nil
}

// lockedOut says whether the SIM, if it is named and ours, may not be in that device.
func (s *Server) lockedOut(ctx context.Context, user, imei string) (bool, error) {
	imsi, err := identity.ParseIMSI(user)
	if err != nil {
		return false, nil //nolint:nilerr // User-Name is optional there, and the lists hold for any SIM
	}
	sub, _, err := s.store.Get(ctx, imsi)
	if errors.Is(err, store.ErrUnknown) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, refused := sub.Profile.MayUse(imei)
	return refused != nil, nil
}
