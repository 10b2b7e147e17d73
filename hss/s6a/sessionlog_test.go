package s6a

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

type lines []subscriber.Event

func (l *lines) Note(e subscriber.Event) { *l = append(*l, e) }

type oneAnswer struct{ err error }

func (o oneAnswer) Send(context.Context, diameter.Outgoing) (diameter.Message, error) {
	return diameter.Message{}, o.err
}

func (oneAnswer) Reaches(string, string, string) bool { return true }

func TestSessionLogHasWhatProceduresEndWith(t *testing.T) {
	request := func(avps ...diameter.AVP) diameter.Request {
		return diameter.Request{Message: diameter.Message{AVPs: append([]diameter.AVP{
			diameter.UserName.Text(string(imsi)), diameter.OriginHost.Text(mme1), visitedPLMNID.Octets(visited[:]), ratType.Unsigned(1004),
			terminalInformation.Group(imeiAVP.Text("35609204079300")),
		}, avps...)}}
	}
	suspended := &diameter.Error{Code: 5004, Vendor: diameter.Vendor3GPP, Err: errors.New("the SIM is suspended")}
	rows := []struct {
		name    string
		command uint32
		req     diameter.Request
		err     error
		what    subscriber.What
		cause   subscriber.Cause
	}{
		{"an attach", commandULR, request(ulrFlags.Unsigned(34)), nil, subscriber.Attached, 0},
		{"an update", commandULR, request(ulrFlags.Unsigned(2)), nil, subscriber.Updated, 0},
		{"a detach", commandPUR, request(), nil, subscriber.Detached, 0},
		{"a refused attach", commandULR, request(ulrFlags.Unsigned(34)), suspended, subscriber.Refused, 5004},
		{"refused authentication", commandAIR, request(), suspended, subscriber.Refused, 5004},
		{"a fault of ours", commandAIR, request(), errors.New("what"), subscriber.Refused, 5012},
		{"vectors are no line", commandAIR, request(), nil, "", 0},
		{"nobody's IMSI has no log", commandULR, request(), experimental(subscriber.UserUnknown, store.ErrUnknown), "", 0},
		{"Redis away: nor does it know whose", commandULR, request(), &diameter.Error{Code: 3004, Err: store.ErrUnavailable}, "", 0},
		{"no IMSI at all", commandULR, diameter.Request{}, nil, "", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var log lines
			app := Logged(diameter.Application{Handlers: map[uint32]diameter.Handler{
				row.command: func(context.Context, diameter.Request) ([]diameter.AVP, error) { return nil, row.err },
			}}, &log)
			_, err := app.Handlers[row.command](t.Context(), row.req)
			require.Equal(t, row.err, err)
			if row.what == "" {
				require.Empty(t, log)
				return
			}
			require.Len(t, log, 1)
			e := log[0]
			require.Equal(t, []any{row.what, row.cause, mme1, "001-01", subscriber.EUTRAN, "35609204079300", imsi},
				[]any{e.What, e.Cause, e.Node, e.PLMN, e.RAT, e.IMEI, e.IMSI})
			require.Equal(t, row.err != nil, e.Why != "")
		})
	}

	var log lines
	clr := diameter.Outgoing{Host: mme1, Application: ApplicationID, Command: commandCLR, AVPs: []diameter.AVP{diameter.UserName.Text(string(imsi))}}
	_, err := LoggedPeers{Peers: oneAnswer{}, Log: &log}.Send(t.Context(), clr)
	require.NoError(t, err)
	require.Equal(t, subscriber.Cancelled, log[0].What)
	_, err = LoggedPeers{Peers: oneAnswer{err: errors.New("away")}, Log: &log}.Send(t.Context(), clr)
	require.Error(t, err)
	require.Len(t, log, 1)
}
