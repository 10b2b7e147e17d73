// Package proof owns the proofs of the user plane under real traffic: what passes a policer, what usage reports say, where
// every packet went while rules changed and the daemon died, and that none was forwarded by half a rule. It has tests
// only; the load comes from userplane/datapath/traffic. They are short in `make test`, and of full size in `make prove`.
package proof
