package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// Record is a SIM as it is stored: Profile has what the templates add, Stored has not.
type Record struct {
	subscriber.Subscriber

	Stored   subscriber.Profile
	Revision Revision
	KEK      string // id of the key that seals its keys
	Sealed   []byte // its keys
	SEQ      uint64 // the last given out
	INDs     []byte // IND table, see layout.go
	NextIND  uint8  // the place in it that the next unknown node takes
}

// record reads what is stored. The error is of the record, and names what cannot be read.
func (s *Store) record(imsi identity.IMSI, w stored, t subscriber.Templates) (Record, error) {
	r, err := s.recordAlone(imsi, w)
	if err == nil {
		r.Profile, err = t.Resolve(r.Stored)
	}
	return r, err
}

// recordAlone is record without what the templates add.
func (s *Store) recordAlone(imsi identity.IMSI, w stored) (Record, error) {
	r := Record{
		Subscriber: subscriber.Subscriber{IMSI: imsi}, Revision: revisionOf(w), KEK: kekOf(w.sealed), Sealed: []byte(w.sealed), SEQ: w.seq,
		INDs: []byte(w.nodes), NextIND: w.next,
	}
	var err error
	if r.Stored, err = decodeProfile(w.profile); err != nil {
		return r, err
	}
	var errMME, errSGSN error
	r.MME, errMME = decodeRegistration(w.mme)
	r.SGSN, errSGSN = decodeRegistration(w.sgsn)
	return r, errors.Join(errMME, errSGSN)
}

func revisionOf(w stored) Revision { return Revision(strconv.FormatUint(uint64(w.revision), 10)) }

// Load returns a SIM as it is stored. The error is ErrUnknown for one that is not there.
func (s *Store) Load(ctx context.Context, imsi identity.IMSI) (Record, error) {
	t, err := s.Templates(ctx)
	if err != nil {
		return Record{}, err
	}
	w, err := s.stored(ctx, imsi)
	if err != nil {
		return Record{}, err
	}
	return s.record(imsi, w, t)
}

// LoadMany returns those of the SIMs that are there, in that order, and none whose template is gone.
func (s *Store) LoadMany(ctx context.Context, imsis []identity.IMSI) ([]Record, error) {
	t, err := s.Templates(ctx)
	if err != nil {
		return nil, err
	}
	var all []Record
	err = s.eachStored(ctx, imsis, func(imsi identity.IMSI, w stored, err error) error {
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		var r Record
		if err == nil {
			r, err = s.record(imsi, w, t)
		}
		if err != nil {
			s.log.Error("a record cannot be read", "imsi_tail", tail(imsi), "err", err)
			return nil
		}
		all = append(all, r)
		return nil
	})
	return all, err
}

// tail is enough of an IMSI to find a record by, and not all of it.
func tail(imsi identity.IMSI) string { return string(imsi[max(0, len(imsi)-4):]) }
