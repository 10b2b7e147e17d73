package pfcp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func decode(t testing.TB, d *decoder, b []byte) (Message, *Error) {
	h, body, err := parseHeader(b)
	require.NoError(t, err)
	return d.parseMessage(h, body)
}

// What was in a request that was released is not in the next one, in whatever order they come.
func TestADecoderThatHasSeenAllReadsTheSame(t *testing.T) {
	d := newDecoder(new(released))
	for range 3 {
		for name, b := range samples(t) {
			if _, _, err := parseHeader(b); err != nil {
				continue
			}
			m, fault := decode(t, d, b)
			_, want, err := Parse(b)
			if err != nil {
				require.Equal(t, err, error(fault), name)
				continue
			}
			require.Nil(t, fault, name)
			require.Empty(t, compare(want, m), name)
			d.released.put(m)
		}
	}
}

func TestWhatRulesHoldOutlivesTheirRequest(t *testing.T) {
	d := newDecoder(new(released))
	full, other := fullEstablishment(), fullEstablishment()
	other.CreatePDRs[0].URRIDs, other.CreatePDRs[1].PDI.SDFFilters[0].FlowDescription = []URRID{8, 9}, "other"
	other.CreatePDRs[1].PDI.QFI = []uint8{1}

	m, fault := decode(t, d, marshal(t, Header{}, full))
	require.Nil(t, fault)
	request, ok := m.(*SessionEstablishmentRequest)
	require.True(t, ok)
	kept := append([]CreatePDR(nil), request.CreatePDRs...)
	d.released.put(request)
	for range 10 {
		m, fault := decode(t, d, marshal(t, Header{}, other))
		require.Nil(t, fault)
		d.released.put(m)
	}
	require.Empty(t, compare(full.CreatePDRs, kept))
}

func TestADecoderKnowsABoundedNumberOfTexts(t *testing.T) {
	d := newDecoder(nil)
	for i := range 3 * maxTexts {
		name := NetworkInstance(fmt.Sprintf("network%d", i))
		m, fault := decode(t, d, marshal(t, Header{}, &SessionModificationRequest{
			UpdateTrafficEndpoints: []TrafficEndpoint{{NetworkInstance: Some(name)}},
		}))
		require.Nil(t, fault)
		request, ok := m.(*SessionModificationRequest)
		require.True(t, ok)
		require.Equal(t, name, request.UpdateTrafficEndpoints[0].NetworkInstance.Value)
		require.LessOrEqual(t, len(d.names), maxTexts)
	}
}

func TestAReleasedRequestHasNoMessage(t *testing.T) {
	sequences := make(chan Sequence, 10)
	up := start(t, testConfig(), func(r *Request) {
		r.Release()
		r.Release()
		if r.Message != nil {
			t.Error("a message after Release")
		}
		sequences <- r.Header.Sequence
		if err := r.Refuse(0, &Error{Cause: CauseNoEstablishedAssociation}); err != nil {
			t.Error(err)
		}
	})
	peer := newRawPeer(t)
	for seq := range Sequence(5) {
		_, m := peer.exchange(up, marshal(t, Header{Sequence: seq}, fullEstablishment()))
		require.IsType(t, &SessionEstablishmentResponse{}, m)
		require.Equal(t, seq, await(t, sequences))
	}
}
