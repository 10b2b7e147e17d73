package main

import (
	"errors"
	"fmt"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/node"
)

// Config is the configuration of the HSS; docs/hss.md explains every key.
type Config struct {
	node.Config `yaml:",inline"`

	Diameter diameter.Config `yaml:"diameter"`
	S6a      s6a.Config      `yaml:"s6a"`
	Redis    store.Config    `yaml:"redis"`
	KEK      store.KEKConfig `yaml:"kek"`

	Provision provision.Config `yaml:"provision"`
}

func defaultConfig() *Config {
	return &Config{
		Config: node.DefaultConfig(nodeName), Diameter: diameter.DefaultConfig(), S6a: s6a.DefaultConfig(),
		Redis: store.DefaultConfig(), KEK: store.KEKConfig{Env: "HSS_KEK"},
		Provision: provision.DefaultConfig(),
	}
}

// Validate lists every fault, each beginning with its key.
func (c *Config) Validate() error {
	return errors.Join(
		c.Config.Validate(),
		under("diameter", c.Diameter.Validate()),
		under("s6a", c.S6a.Validate()),
		under("redis", c.Redis.Validate()),
		under("provision", c.Provision.Validate()),
	)
}

// under puts the name of a part before the key of each of its faults.
func under(part string, err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s.%w", part, err)
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, fmt.Errorf("%s.%w", part, e))
	}
	return errors.Join(all...)
}
