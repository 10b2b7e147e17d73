package diameter

import (
	"bytes"
	_ "embed" // dictionary.xml
	"fmt"
	"strings"

	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
)

//go:embed dictionary.xml
var dictionaryXML []byte

// Type is the data format of an AVP, RFC 6733 4.2 and 4.3.
type Type = datatype.TypeID

// AVPDef is what the dictionary says about an AVP.
type AVPDef struct {
	Name      string
	Code      uint32
	Vendor    uint32 // 0 for the base protocol's
	Type      Type
	Mandatory bool // we set the M bit when we send it

	members []rule // of a Grouped AVP; none when anything may stand in it
}

// rule says how often an AVP stands in a message or group.
type rule struct {
	def      *AVPDef
	required bool
	max      int // 0: any number
}

// CommandDef is what the dictionary says about a command.
type CommandDef struct {
	Application     uint32
	Code            uint32
	Name            string // Request and Answer appended make the name in the standard
	Short           string // R and A appended make the abbreviation, as AI for AIR and AIA
	request, answer []rule
}

type avpKey struct{ code, vendor uint32 }

type commandKey struct{ application, code uint32 }

// Dictionary says which AVPs and commands are known. It does not change once loaded.
//
// The XML and its parser are go-diameter's; its lookup is not used, since that finds an AVP of one vendor under
// another vendor's number.
type Dictionary struct {
	avps         map[avpKey]*AVPDef
	names        map[string]*AVPDef
	commands     map[commandKey]*CommandDef
	applications map[uint32]uint32 // Application-Id → vendor, without the base protocol
}

// Standard is the dictionary of what we serve, from dictionary.xml.
var Standard = mustLoad(dictionaryXML)

func mustLoad(xml []byte) *Dictionary {
	d, err := LoadDictionary(xml)
	if err != nil {
		panic(fmt.Sprintf("diameter: dictionary.xml: %v", err))
	}
	return d
}

// LoadDictionary reads a dictionary in go-diameter's XML form. AVP codes and names are unique over all its applications.
func LoadDictionary(xml []byte) (*Dictionary, error) {
	parser, err := dict.NewParser()
	if err != nil {
		return nil, fmt.Errorf("making the parser: %w", err)
	}
	if err := parser.Load(bytes.NewReader(xml)); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	d := &Dictionary{
		avps: map[avpKey]*AVPDef{}, names: map[string]*AVPDef{},
		commands: map[commandKey]*CommandDef{}, applications: map[uint32]uint32{},
	}
	for _, app := range parser.Apps() {
		if err := d.addAVPs(app); err != nil {
			return nil, err
		}
	}
	for _, app := range parser.Apps() {
		if err := d.addRules(app); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Dictionary) addAVPs(app *dict.App) error {
	for _, a := range app.AVP {
		def := &AVPDef{
			Name: a.Name, Code: a.Code, Vendor: a.VendorID, Type: a.Data.Type,
			Mandatory: strings.Contains(a.Must, "M"),
		}
		key := avpKey{a.Code, a.VendorID}
		if d.avps[key] != nil || d.names[a.Name] != nil {
			return fmt.Errorf("AVP %s (%d) stands twice", a.Name, a.Code)
		}
		d.avps[key], d.names[a.Name] = def, def
	}
	return nil
}

func (d *Dictionary) addRules(app *dict.App) (err error) {
	for _, a := range app.AVP {
		if d.names[a.Name].members, err = d.rules(a.Data.Rule); err != nil {
			return fmt.Errorf("AVP %s: %w", a.Name, err)
		}
	}
	for _, c := range app.Command {
		def := &CommandDef{Application: app.ID, Code: c.Code, Name: c.Name, Short: c.Short}
		if def.request, err = d.rules(c.Request.Rule); err != nil {
			return fmt.Errorf("command %s request: %w", c.Name, err)
		}
		if def.answer, err = d.rules(c.Answer.Rule); err != nil {
			return fmt.Errorf("command %s answer: %w", c.Name, err)
		}
		d.commands[commandKey{app.ID, c.Code}] = def
	}
	if app.ID != 0 {
		d.applications[app.ID] = 0
		for _, v := range app.Vendor {
			d.applications[app.ID] = v.ID
		}
	}
	return nil
}

func (d *Dictionary) rules(in []*dict.Rule) ([]rule, error) {
	out := make([]rule, 0, len(in))
	for _, r := range in {
		if r.AVP == "AVP" { // *[ AVP ]
			continue
		}
		def := d.names[r.AVP]
		if def == nil {
			return nil, fmt.Errorf("rule names AVP %s, which is not defined", r.AVP)
		}
		out = append(out, rule{def: def, required: r.Required, max: r.Max})
	}
	return out, nil
}

// AVP returns the definition of the AVP of that name. A name that the dictionary lacks is a programming error.
func (d *Dictionary) AVP(name string) *AVPDef {
	def := d.names[name]
	if def == nil {
		panic(fmt.Sprintf("diameter: the dictionary has no AVP %q", name))
	}
	return def
}

// Command returns the definition of a command, nil when it is unknown.
func (d *Dictionary) Command(application, code uint32) *CommandDef {
	return d.commands[commandKey{application, code}]
}
