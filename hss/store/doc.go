// Package store owns the HSS's records in Redis: their keys, their form, and what changes them in one step. It decides
// nothing about a subscriber, and never holds a key of a SIM in clear outside the call that needs it.
//
// One SIM is one string, sim:{IMSI} (see layout.go); the braces keep everything of it in one slot of a Cluster. Beside it:
// the requests that its nodes have yet to answer (requests.go) and its PDN-GWs (registration.go). In slots of their own:
// indexes (index.go), static addresses (address.go), templates (template.go), changes that the serving nodes have yet to
// hear of (change.go), the audit log and the session log (stream.go).
//
// Every change of a record is one Lua script, atomic in Redis, so that several HSS instances may work on the same records.
package store
