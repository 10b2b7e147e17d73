package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
)

// MaxEquipmentAtOnce bounds a request.
const MaxEquipmentAtOnce = 10_000

// EquipmentChange puts devices on a list.
type EquipmentChange struct {
	List   subscriber.EquipmentList `json:"list"   enum:"white,grey,black"`
	Ranges []string                 `json:"ranges" doc:"beginnings of IMEIs, 1 to 14 digits, or two of as many with a dash between"`
}

// EquipmentResult says how many entries are on the list now that were named.
type EquipmentResult struct {
	Entries int `json:"entries"`
}

func (v *Service) putEquipment(ctx context.Context, c EquipmentChange) (EquipmentResult, error) {
	if len(c.Ranges) == 0 || len(c.Ranges) > MaxEquipmentAtOnce {
		return EquipmentResult{}, bad("ranges: %d, want 1 to %d", len(c.Ranges), MaxEquipmentAtOnce)
	}
	entries := make([]subscriber.Equipment, len(c.Ranges))
	for i, r := range c.Ranges {
		entries[i] = subscriber.Equipment{Range: r, List: c.List}
		if err := entries[i].Validate(); err != nil {
			return EquipmentResult{}, bad("ranges[%d]: %v", i, err)
		}
	}
	err := v.store.PutEquipment(ctx, entries)
	if errors.Is(err, store.ErrTooMany) {
		err = refuse(http.StatusConflict, "%v", err)
	}
	err = refusal("equipment", err)
	object := c.Ranges[0]
	if len(c.Ranges) > 1 {
		object = fmt.Sprintf("%s and %d more", object, len(c.Ranges)-1)
	}
	v.audit(ctx, "equipment.set", object, string(c.List), err)
	return EquipmentResult{Entries: len(entries)}, err
}

func (v *Service) removeEquipment(ctx context.Context, name string) (EquipmentResult, error) {
	before, err := v.store.RemoveEquipment(ctx, name)
	err = refusal("list has "+name, err)
	v.audit(ctx, "equipment.remove", name, string(before.List), err)
	return EquipmentResult{Entries: 1}, err
}

func (r routes) equipment(network Network) {
	v := r.v
	type list struct {
		List  subscriber.EquipmentList `query:"list" enum:"white,grey,black"`
		After string                   `query:"after" doc:"go on behind this range: the last of the page before"`
		Limit int                      `query:"limit" default:"1000" minimum:"1" maximum:"10000"`
	}
	handle(r, op("equipment-list", http.MethodGet, "/equipment", Read, "List the devices that are on lists, by their beginnings"), func(ctx context.Context, in *list) ([]subscriber.Equipment, error) {
		all, err := v.store.Equipment(ctx, in.List, in.After, in.Limit)
		return all, refusal("equipment", err)
	})
	handle(r, op("equipment-set", http.MethodPost, "/equipment", Operate, "Put devices on a list, and off those where they were"), func(ctx context.Context, in *struct{ Body EquipmentChange }) (EquipmentResult, error) {
		return v.putEquipment(ctx, in.Body)
	})
	type named struct {
		Range string `path:"device" doc:"as it was put on the list: a beginning, or two with a dash between"`
	}
	handle(r, op("equipment-remove", http.MethodDelete, "/equipment/{device}", Operate, "Take an entry off its list"), func(ctx context.Context, in *named) (EquipmentResult, error) {
		return v.removeEquipment(ctx, in.Range)
	})
	type device struct {
		IMEI string `path:"device" doc:"IMEI, 14 to 16 digits"`
	}
	handle(r, op("equipment-check", http.MethodGet, "/equipment/{device}", Read, "Say on which list a device is, and by which entry"), func(ctx context.Context, in *device) (subscriber.EquipmentStatus, error) {
		if _, err := subscriber.Device(in.IMEI); err != nil {
			return subscriber.EquipmentStatus{}, bad("%v", err)
		}
		found, err := network.Equipment(ctx, in.IMEI)
		return found, refusal("equipment", err)
	})
}
