package provision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// cancelLocation has the nodes that serve a SIM drop it; it may attach again, and with reattach the device is asked to, at once.
func (v *Service) cancelLocation(ctx context.Context, ref string, reattach bool) ([]subscriber.Subscriber, error) {
	return v.each(ctx, ref, func(imsi identity.IMSI) (subscriber.Subscriber, error) {
		sub, err := v.cancelOne(ctx, imsi, reattach)
		err = refusal(simNamed(imsi), err)
		v.audit(ctx, "location.cancel", string(imsi), "", err)
		return sub, err
	})
}

func (v *Service) cancelOne(ctx context.Context, imsi identity.IMSI, reattach bool) (subscriber.Subscriber, error) {
	sub, _, err := v.store.Get(ctx, imsi)
	if err != nil || !sub.Registered() {
		return sub, err
	}
	c := subscriber.Change{IMSI: imsi, At: v.now().UTC(), Before: sub, Reattach: reattach} // as if it were removed: each node drops it
	id, err := v.store.NoteChange(ctx, c)
	if err != nil {
		return sub, err
	}
	v.push(context.WithoutCancel(ctx), id, c)
	sub, _, err = v.store.Get(ctx, imsi)
	return sub, err
}

// TestVector is what shows whether a card has the keys that we have: the card accepts AUTN and answers XRES. CK, IK and
// KASME are keys, and not shown.
type TestVector struct {
	RAND      string        `json:"rand"`
	AUTN      string        `json:"autn"`
	XRES      string        `json:"xres"`
	SEQ       uint64        `json:"seq"`
	IND       uint8         `json:"ind"`
	Algorithm aka.Algorithm `json:"algorithm"`
}

// testNode has an IND of its own, so that a test spoils no vector that an MME has.
const testNode = "test"

// testVector makes a vector that the card will accept, and never the same twice.
func (v *Service) testVector(ctx context.Context, imsi identity.IMSI, challenge string) (TestVector, error) {
	var r [16]byte
	_, _ = rand.Read(r[:]) // never fails, see crypto/rand
	if challenge != "" {
		b, err := hex.DecodeString(challenge)
		if err != nil || len(b) != len(r) {
			return TestVector{}, bad("rand: want 32 hexadecimal digits")
		}
		copy(r[:], b)
	}
	a, err := v.store.Advance(ctx, imsi, testNode, 1, nil, v.now())
	if err == nil && len(a.Keys.K.Octets()) == 0 {
		err = errors.New("the SIM has no keys")
	}
	var vector aka.Vector
	if err == nil {
		vector, err = a.Keys.Vector(r, aka.NewSQN(a.Counter.SEQ, a.Counter.IND), a.Admission.AMFOf(true))
	}
	err = refusal(simNamed(imsi), err)
	v.audit(ctx, "test.vector", string(imsi), "", err)
	if err != nil {
		return TestVector{}, err
	}
	return TestVector{
		RAND: hex.EncodeToString(vector.RAND[:]), AUTN: hex.EncodeToString(vector.AUTN[:]), XRES: hex.EncodeToString(vector.XRES[:]),
		SEQ: a.Counter.SEQ, IND: a.Counter.IND, Algorithm: a.Keys.Algorithm,
	}, nil
}
