package s6a

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Cancellation-Type, TS 29.272 7.3.24.
const (
	mmeUpdate              uint32 = 0
	sgsnUpdate             uint32 = 1
	subscriptionWithdrawal uint32 = 2
)

const (
	maxCancellations    = 10_000 // waiting to be sent; beyond, they are dropped and counted
	cancellationsAtOnce = 16
)

// cancellation is a CLR to be sent.
type cancellation struct {
	imsi identity.IMSI
	from subscriber.Registration
	kind uint32
}

func updateOf(side subscriber.Side) uint32 {
	if side == subscriber.MME {
		return mmeUpdate
	}
	return sgsnUpdate
}

// cancel queues a CLR. It never waits: a worker that did could wait for an answer that only it can make room for.
func (s *Server) cancel(c cancellation) {
	select {
	case s.cancellations <- c:
	default:
		s.cancels.WithLabelValues("queue_full").Inc()
		s.log.Error("too many cancellations wait: one is dropped", "host", c.from.Host)
	}
}

// Withdraw queues CLRs for a SIM that is no longer ours.
func (s *Server) Withdraw(imsi identity.IMSI, registrations ...subscriber.Registration) {
	for _, r := range registrations {
		if r.Displaced(subscriber.Registration{}) {
			s.cancel(cancellation{imsi: imsi, from: r, kind: subscriptionWithdrawal})
		}
	}
}

// Run sends what is queued until ctx ends.
func (s *Server) Run(ctx context.Context, send SendFunc) error {
	group := new(errgroup.Group)
	for range cancellationsAtOnce {
		group.Go(func() error {
			for {
				select {
				case c := <-s.cancellations:
					s.sendCLR(ctx, send, c)
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	return group.Wait()
}

// sendCLR sends one CLR, TS 29.272 5.2.1.2. It is not repeated yet: a node that is away keeps a subscriber that it no
// longer serves, which the counter shows.
func (s *Server) sendCLR(ctx context.Context, send SendFunc, c cancellation) {
	_, err := send(ctx, c.from.Host, c.from.Realm, ApplicationID, commandCLR,
		diameter.UserName.Text(string(c.imsi)), cancellationType.Unsigned(c.kind))
	if err != nil {
		s.cancels.WithLabelValues("failed").Inc()
		s.log.Warn("a displaced node could not be told", "host", c.from.Host, "err", err)
		return
	}
	s.cancels.WithLabelValues("done").Inc()
}
