// Package store owns the HSS's records in Redis: their keys, their form, and what changes them in one step. It decides
// nothing about a subscriber, and never holds a key of a SIM in clear outside the call that needs it.
//
// One SIM is one hash, sim:{IMSI}; the braces keep everything of it in one slot of a Cluster. Its fields:
//
//	v        version of this form, 1
//	rev      revision of the profile, raised by each change
//	profile  JSON of the profile (see profile.go): what is the SIM's own; the rest comes from its templates when it is read
//	key      K and OPc, sealed (see seal.go)
//	seq      last SEQ given out; seq0, t0: SEQ and time (100 ms) from which the clock counts
//	nodes    number of nodes that were given an IND; i:NODE → IND, n:IND → NODE for the last 32 of them
//	mme      JSON of subscriber.Registration; sgsn: the same for S6d
//
// Beside them: indexes (see index.go), templates (template.go), changes that the serving nodes have yet to hear of
// (change.go), the audit log and the session log.
//
// Every change is one Lua script, atomic in Redis, so that several HSS instances may work on the same records.
package store
