// Package subscriber owns what the HSS knows of a SIM and what follows from it: the profile, who may attach where, and
// which vectors go out. It is data and functions only: it reads no clock, no network and no store, and knows no AVP.
package subscriber
