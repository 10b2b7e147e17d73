package sxb

import (
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// tick looks after silent peers, and after those that we are to associate with.
func (k *keeper) tick(now time.Time) {
	d := k.e.directory.Load()
	k.e.load.measure(k.e.teids.info(), now)
	for _, a := range d.byID {
		if !k.drained(a, now) {
			k.watch(a, now)
		}
	}
	for _, p := range k.e.cfg.Peers {
		if p.Initiate && len(d.byAddr[p.Address]) == 0 {
			k.initiate(p.Address, now)
		}
	}
}

// watch sends a heartbeat to a peer that has been silent, TS 29.244 6.2.2. While the peer's own arrive there is no
// need of ours.
func (k *keeper) watch(a *association, now time.Time) {
	lost := a.lost.Load()
	heard := a.heard.Load()
	if lost != 0 && heard > lost {
		a.lost.Store(0)
		lost = 0
		k.e.log.Info("control plane is back", "peer", a.node.String(), "sessions", a.sessions.Load())
	}
	if after := k.e.cfg.ReleaseLost; lost != 0 && after > 0 && now.Sub(time.Unix(0, lost)) > after {
		k.e.log.Warn("control plane stayed lost: its sessions go", "peer", a.node.String(), "sessions", a.sessions.Load())
		k.dissolve(a, func() {})
		return
	}
	if now.Sub(time.Unix(0, heard)) >= k.e.cfg.HeartbeatInterval {
		k.probe(a)
	}
}

// probe sends a heartbeat, unless one is on its way.
func (k *keeper) probe(a *association) {
	if k.asking[a.id] {
		return
	}
	k.asking[a.id] = true
	request := &pfcp.HeartbeatRequest{RecoveryTimeStamp: pfcp.Some(k.e.recovery)}
	k.e.endpoint.Call(a.peer(), 0, request, func(_ pfcp.Header, m pfcp.Message, err error) {
		k.tell(func() { k.heartbeatEnded(a, m, err) })
	})
}

func (k *keeper) heartbeatEnded(a *association, m pfcp.Message, err error) {
	delete(k.asking, a.id)
	if k.e.directory.Load().byID[a.id] == nil {
		return
	}
	if err != nil {
		if a.lost.Load() == 0 && time.Since(time.Unix(0, a.heard.Load())) >= k.e.cfg.HeartbeatInterval {
			a.lost.Store(time.Now().UnixNano())
			k.e.log.Warn("control plane does not answer: its sessions stay", "peer", a.node.String(),
				"sessions", a.sessions.Load(), "released_after", k.e.cfg.ReleaseLost, "err", err)
		}
		return
	}
	a.heard.Store(time.Now().UnixNano())
	if r, ok := m.(*pfcp.HeartbeatResponse); ok && r.RecoveryTimeStamp.Present {
		k.recovered(a, r.RecoveryTimeStamp.Value)
	}
}

// sawRecovery is told of the Recovery Time Stamp in every heartbeat of a peer, by the socket's readers.
func (k *keeper) sawRecovery(addr netip.Addr, recovery pfcp.RecoveryTimeStamp) {
	a := k.e.directory.Load().at(addr)
	if a == nil || a.recovery == recovery {
		return
	}
	k.e.stats.recoveryChanges.Add(1)
	if a.setting.RestartOnHeartbeat {
		k.tell(func() { k.recovered(a, recovery) })
	}
}

// recovered acts on another Recovery Time Stamp in a heartbeat, where that is set to mean a restart.
func (k *keeper) recovered(a *association, recovery pfcp.RecoveryTimeStamp) {
	now := k.e.directory.Load().byID[a.id]
	if now == nil || now.recovery == recovery || !now.setting.RestartOnHeartbeat {
		return
	}
	record := now.associationRecord
	record.recovery = recovery
	k.associate(record, terms{}, func(_ bool, err error) {
		if err != nil {
			k.e.log.Error("association not renewed", "peer", record.node.String(), "err", err)
		}
	})
}

// wantsSession is told, by a shard, of a control plane that asked for a session without an association. Some
// never set one up again by themselves (Open5GS#3467).
func (k *keeper) wantsSession(addr netip.Addr) {
	if setting, allowed := k.e.cfg.setting(addr); !allowed || !setting.AssociateOnUnknown {
		return
	}
	k.tell(func() {
		if len(k.e.directory.Load().byAddr[addr]) == 0 {
			k.initiate(addr, time.Now())
		}
	})
}

// initiate sends an Association Setup Request of ours, TS 29.244 6.2.6.3, at most one in SetupRetry to an address.
func (k *keeper) initiate(addr netip.Addr, now time.Time) {
	if last, ok := k.attempts[addr]; ok && now.Sub(last) < k.e.cfg.SetupRetry {
		return
	}
	if len(k.attempts) >= maxAttempts {
		for old, when := range k.attempts {
			if now.Sub(when) >= k.e.cfg.SetupRetry {
				delete(k.attempts, old)
			}
		}
		if len(k.attempts) >= maxAttempts {
			return
		}
	}
	k.attempts[addr] = now
	setting, _ := k.e.cfg.setting(addr)
	request := &pfcp.AssociationSetupRequest{
		NodeID: k.e.cfg.NodeID, RecoveryTimeStamp: k.e.recovery, UPFunctionFeatures: pfcp.Some(k.e.cfg.features()),
	}
	k.e.endpoint.Call(netip.AddrPortFrom(addr, setting.Port), 0, request, func(_ pfcp.Header, m pfcp.Message, err error) {
		k.tell(func() { k.initiated(addr, m, err) })
	})
}

func (k *keeper) initiated(addr netip.Addr, m pfcp.Message, err error) {
	response, ok := m.(*pfcp.AssociationSetupResponse)
	switch {
	case err != nil || !ok:
		k.e.log.Debug("association not set up", "address", addr.String(), "err", err)
		return
	case response.Cause != pfcp.CauseAccepted:
		k.e.log.Warn("association refused by the control plane", "address", addr.String(), "cause", response.Cause.String())
		return
	}
	record := associationRecord{node: response.NodeID, addr: addr, recovery: response.RecoveryTimeStamp, features: response.CPFunctionFeatures.Value}
	k.associate(record, terms{}, func(_ bool, err error) {
		if err != nil {
			k.e.log.Error("association not set up", "address", addr.String(), "err", err)
		}
	})
}
