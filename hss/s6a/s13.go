package s6a

import (
	"context"
	"errors"
	"fmt"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// S13ID is the application of S13, TS 29.272 7.1.8.
const S13ID uint32 = 16777252

const commandECR uint32 = 324

// EquipmentConfig are lists of devices, beside those that are put in by command: beginnings of IMEIs and ranges, see
// subscriber.Equipment.
type EquipmentConfig struct {
	White   []string `yaml:"white"`
	Grey    []string `yaml:"grey"`
	Black   []string `yaml:"black"`
	Unknown string   `yaml:"unknown"` // what a device is that no list has: white, grey, black, or refuse with 5422
}

// Equipment-Status, TS 29.272 7.3.51.
var equipmentStatus = map[subscriber.EquipmentList]uint32{subscriber.White: 0, subscriber.Black: 1, subscriber.Grey: 2}

const equipmentRefuse = "refuse"

// Validate lists every fault, each beginning with its key.
func (c EquipmentConfig) Validate() error {
	var faults []error
	for list, ranges := range c.lists() {
		for i, r := range ranges {
			if err := (subscriber.Equipment{Range: r, List: list}).Validate(); err != nil {
				faults = append(faults, fmt.Errorf("%s[%d]: %w", list, i, err))
			}
		}
	}
	if _, ok := equipmentStatus[subscriber.EquipmentList(c.Unknown)]; !ok && c.Unknown != equipmentRefuse {
		faults = append(faults, fmt.Errorf("unknown: %q, want white, grey, black or refuse", c.Unknown))
	}
	return errors.Join(faults...)
}

func (c EquipmentConfig) lists() map[subscriber.EquipmentList][]string {
	return map[subscriber.EquipmentList][]string{subscriber.White: c.White, subscriber.Grey: c.Grey, subscriber.Black: c.Black}
}

// entries are those of all lists.
func (c EquipmentConfig) entries() []subscriber.Equipment {
	var all []subscriber.Equipment
	for list, ranges := range c.lists() {
		for _, r := range ranges {
			all = append(all, subscriber.Equipment{Range: r, List: list})
		}
	}
	return all
}

// Equipment says on which list the device of an IMEI is: the narrowest entry decides, of two as narrow the one that was put
// in by command.
func (s *Server) Equipment(ctx context.Context, imei string) (subscriber.EquipmentStatus, error) {
	device, err := subscriber.Device(imei)
	if err != nil {
		return subscriber.EquipmentStatus{}, err
	}
	stored, err := s.store.EquipmentFor(ctx, device)
	if err != nil {
		return subscriber.EquipmentStatus{}, err
	}
	put, isPut := subscriber.Decide(stored, device)
	configured, isConfigured := subscriber.Decide(s.cfg.Equipment.entries(), device)
	switch {
	case isConfigured && (!isPut || configured.Narrower(put)):
		return subscriber.EquipmentStatus{List: string(configured.List), Range: configured.Range, From: "configuration"}, nil
	case isPut:
		return subscriber.EquipmentStatus{List: string(put.List), Range: put.Range, From: "provisioned"}, nil
	}
	return subscriber.EquipmentStatus{List: s.cfg.Equipment.Unknown, From: "unknown"}, nil
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
	found, err := s.Equipment(ctx, device)
	if err != nil {
		return nil, s.asAnswer(err, req.Text(diameter.OriginRealm), tryElsewhere())
	}
	status := subscriber.EquipmentList(found.List)
	if locked, err := s.lockedOut(ctx, req.Text(diameter.UserName), imei.Text()); err != nil {
		return nil, s.asAnswer(err, req.Text(diameter.OriginRealm), tryElsewhere())
	} else if locked {
		status = subscriber.Black
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
