package datapath

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
)

const (
	maxStack    = 512 // MAX_BPF_STACK
	stackFrames = 32  // a function's part is a multiple of this for verifiers before 6.8, and never 0
)

// function is what the verifier's check_max_stack_depth looks at.
type function struct {
	stack int      // octets that it addresses below its frame pointer
	calls []string // also those that it gives to helpers
}

// functionsOf are those of a program and what it calls, by name.
func functionsOf(program *ebpf.ProgramSpec) map[string]*function {
	functions := map[string]*function{}
	var f *function
	frame := map[asm.Register]int64{} // offsets of registers that have been made of the frame pointer
	for _, ins := range program.Instructions {
		if begins := btf.FuncMetadata(&ins); begins != nil {
			f = &function{}
			functions[begins.Name] = f
			clear(frame)
		}
		if ins.IsFunctionReference() {
			f.calls = append(f.calls, ins.Reference())
		}
		op, class := ins.OpCode, ins.OpCode.Class()
		switch {
		case class.IsLoad() && ins.Src == asm.RFP, class.IsStore() && ins.Dst == asm.RFP:
			f.stack = max(f.stack, -int(ins.Offset))
		case class.IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && ins.Src == asm.RFP:
			frame[ins.Dst] = 0
			continue
		case class.IsALU() && op.ALUOp() == asm.Add && op.Source() == asm.ImmSource:
			if offset, ok := frame[ins.Dst]; ok {
				frame[ins.Dst] = offset + ins.Constant
				f.stack = max(f.stack, -int(frame[ins.Dst]))
				continue
			}
		}
		if class.IsALU() || class.IsLoad() {
			delete(frame, ins.Dst)
		}
	}
	return functions
}

// deepest is the chain of calls from a function that takes most stack, and what it takes.
func deepest(functions map[string]*function, name string) (octets int, chain []string) {
	for _, callee := range functions[name].calls {
		if below, names := deepest(functions, callee); below > octets {
			octets, chain = below, names
		}
	}
	own := (max(functions[name].stack, 1) + stackFrames - 1) / stackFrames * stackFrames
	return octets + own, append([]string{name}, chain...)
}

// TestTheStackIsDeepEnough adds up what nested functions take as the verifier of 6.1 does, which refuses a program for a
// single octet more; later ones are less strict.
func TestTheStackIsDeepEnough(t *testing.T) {
	spec, err := loadPgwu()
	require.NoError(t, err)
	for name, program := range spec.Programs {
		functions := functionsOf(program)
		octets, chain := deepest(functions, name)
		for i, called := range chain {
			t.Logf("%*s%s: %d", 2*i, "", called, functions[called].stack)
		}
		t.Logf("%s: %d functions, %d octets", name, len(functions), octets)
		require.LessOrEqual(t, octets, maxStack, "%s", strings.Join(chain, " > "))
	}
}

// TestStackIsCounted is the sum for programs whose stack is known: as 6.1 says "combined stack size of 3 calls is 544".
func TestStackIsCounted(t *testing.T) {
	begin := func(name string, ins asm.Instruction) asm.Instruction {
		return btf.WithFuncMetadata(ins.WithSymbol(name), &btf.Func{Name: name})
	}
	program := &ebpf.ProgramSpec{Instructions: asm.Instructions{
		begin("main", asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord)),
		asm.Call.Label("nothing"),
		asm.Call.Label("deep"),
		asm.Return(),
		begin("deep", asm.Mov.Reg(asm.R2, asm.RFP)), // an array that a helper is to fill
		asm.Add.Imm(asm.R2, -449),
		asm.LoadMem(asm.R3, asm.R2, -100, asm.Word), // not of the frame pointer itself
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Imm(asm.R2, -500),
		asm.Call.Label("nothing"),
		asm.Return(),
		begin("nothing", asm.Mov.Imm(asm.R0, 0)),
		asm.Return(),
	}}
	octets, chain := deepest(functionsOf(program), "main")
	require.Equal(t, 32+480+32, octets)
	require.Equal(t, []string{"main", "deep", "nothing"}, chain)
}
