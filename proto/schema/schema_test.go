package schema_test

import (
	"errors"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/schema"
)

// unruled are the fields of requests without a rule of their own, and why none is needed.
var unruled = map[protoreflect.FullName]string{
	"comity.ledger.v1.StreamBlocksRequest.stop_at_head":  "both values of a bool are meant",
	"comity.ledger.v1.StreamBlocksRequest.omit_segments": "both values of a bool are meant",
	"comity.ledger.v1.SubmitRequest.forwarded":           "it may be absent, and its own fields have rules",
	"comity.ledger.v1.ListHoldsRequest.after":            "it may be absent, and its own fields have rules",
}

// services are all services of this project whose code is linked into the test.
func services(t *testing.T) (out []protoreflect.ServiceDescriptor) {
	t.Helper()
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(f.Package()), "comity.") {
			for i := range f.Services().Len() {
				out = append(out, f.Services().Get(i))
			}
		}
		return true
	})
	if len(out) < 2 {
		t.Fatalf("only %d services are here", len(out))
	}
	return out
}

// lacks says what the rules of a field leave open, or "".
func lacks(f protoreflect.FieldDescriptor, r *validate.FieldRules) string {
	switch {
	case f.IsMap():
		return "a rule for maps, which this test does not know"
	case f.IsList():
		list := r.GetRepeated()
		switch {
		case list == nil || !list.HasMaxItems():
			return "a bound of the list"
		case f.Kind() == protoreflect.MessageKind:
			return ""
		}
		return lacksValue(f, list.GetItems())
	case f.Kind() == protoreflect.MessageKind:
		if !r.GetRequired() {
			return "whether it must be there"
		}
		return ""
	}
	return lacksValue(f, r)
}

func lacksValue(f protoreflect.FieldDescriptor, r *validate.FieldRules) string {
	switch f.Kind() {
	case protoreflect.BytesKind:
		if b := r.GetBytes(); b == nil || (!b.HasLen() && !b.HasMaxLen()) {
			return "a bound of its length"
		}
	case protoreflect.StringKind:
		if s := r.GetString(); s == nil || (!s.HasLen() && !s.HasMaxLen() && !s.HasMaxBytes()) || !s.HasPattern() {
			return "a bound of its length and a pattern"
		}
	case protoreflect.Uint32Kind:
		if n := r.GetUint32(); n == nil || (!n.HasLt() && !n.HasLte()) {
			return "an upper bound"
		}
	case protoreflect.Uint64Kind:
		if n := r.GetUint64(); n == nil || (!n.HasLt() && !n.HasLte()) {
			return "an upper bound"
		}
	case protoreflect.EnumKind:
		if e := r.GetEnum(); e == nil || (!e.GetDefinedOnly() && len(e.GetIn()) == 0) {
			return "its defined values alone"
		}
	default:
		return "a rule"
	}
	return ""
}

func rulesOf(f protoreflect.FieldDescriptor) *validate.FieldRules {
	options, _ := f.Options().(*descriptorpb.FieldOptions)
	rules, _ := proto.GetExtension(options, validate.E_Field).(*validate.FieldRules)
	return rules
}

// TestEveryFieldOfARequestHasARule walks every request of every service: what a caller can send is bounded, field by field.
func TestEveryFieldOfARequestHasARule(t *testing.T) {
	left := map[protoreflect.FullName]bool{}
	for name := range unruled {
		left[name] = true
	}
	fields := 0
	for _, m := range schema.Requests(services(t)...) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			fields++
			if unruled[f.FullName()] != "" {
				delete(left, f.FullName())
				if lacks(f, rulesOf(f)) == "" {
					t.Errorf("%s has a rule and stands on the list of those without", f.FullName())
				}
				continue
			}
			if what := lacks(f, rulesOf(f)); what != "" {
				t.Errorf("%s lacks %s", f.FullName(), what)
			}
		}
		for i := range m.Oneofs().Len() {
			o := m.Oneofs().Get(i)
			options, _ := o.Options().(*descriptorpb.OneofOptions)
			if rules, _ := proto.GetExtension(options, validate.E_Oneof).(*validate.OneofRules); !rules.GetRequired() {
				t.Errorf("%s may be absent", o.FullName())
			}
		}
	}
	for name := range left {
		t.Errorf("%s is on the list of fields without a rule and in no request", name)
	}
	if fields < 25 {
		t.Errorf("only %d fields were looked at", fields)
	}
}

// TestFieldWithoutARuleIsFound: the walk above finds what is missing.
func TestFieldWithoutARuleIsFound(t *testing.T) {
	for _, m := range schema.Requests(services(t)...) {
		for i := range m.Fields().Len() {
			if f := m.Fields().Get(i); lacks(f, &validate.FieldRules{}) == "" {
				t.Errorf("%s passes without rules", f.FullName())
			}
		}
	}
}

func TestSchemasOfAllServicesCompile(t *testing.T) {
	if _, err := schema.Compile(services(t)...); err != nil {
		t.Fatal(err)
	}
}

// service makes a service with one method, whose request is changed by edit.
func service(t *testing.T, edit func(submit *descriptorpb.DescriptorProto)) protoreflect.ServiceDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(ledgerv1.File_comity_ledger_v1_ledger_proto)
	for _, m := range file.MessageType {
		if m.GetName() == "SubmitRequest" {
			edit(m)
		}
	}
	d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return d.Services().Get(0)
}

func ruled(rules *validate.FieldRules) *descriptorpb.FieldOptions {
	o := &descriptorpb.FieldOptions{}
	proto.SetExtension(o, validate.E_Field, rules)
	return o
}

func TestSchemaThatDoesNotCompileIsRefused(t *testing.T) {
	for name, rules := range map[string]*validate.FieldRules{
		"a rule for strings on bytes": validate.FieldRules_builder{String: validate.StringRules_builder{MaxLen: proto.Uint64(3)}.Build()}.Build(),
		"an expression with a slip":   validate.FieldRules_builder{Cel: []*validate.Rule{validate.Rule_builder{Id: proto.String("x"), Expression: proto.String("this.nothing(")}.Build()}}.Build(),
		"a list's rule on bytes":      validate.FieldRules_builder{Repeated: validate.RepeatedRules_builder{MaxItems: proto.Uint64(1)}.Build()}.Build(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Compile(service(t, func(m *descriptorpb.DescriptorProto) { m.Field[0].Options = ruled(rules) }))
			if err == nil || !strings.Contains(err.Error(), "SubmitRequest") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := schema.Compile(service(t, func(*descriptorpb.DescriptorProto) {})); err != nil {
		t.Errorf("the schema as it is: %v", err)
	}
}

// TestRefusalNamesFieldAndRule, and quotes nothing of the request.
func TestRefusalNamesFieldAndRule(t *testing.T) {
	rules, err := schema.Compile(services(t)...)
	if err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2 "
	good := make([]byte, 32)
	for name, tc := range map[string]struct {
		m                 proto.Message
		code, field, rule string
	}{
		"bytes too short":       {&ledgerv1.SubmitRequest{}, schema.Malformed, "entry", "bytes.min_len"},
		"bytes too long":        {&ledgerv1.SubmitRequest{Entry: make([]byte, 1<<16)}, schema.Oversize, "entry", "bytes.max_len"},
		"bytes of a length":     {&ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Id{Id: []byte(secret)}}, schema.Malformed, "id", "bytes.len"},
		"a list too long":       {&ledgerv1.SubmitRequest{Entry: good, Segments: make([][]byte, 5)}, schema.BatchTooLong, "segments", "repeated.max_items"},
		"a member too long":     {&ledgerv1.SubmitRequest{Entry: good, Segments: [][]byte{good, make([]byte, 1<<16+1)}}, schema.Oversize, "segments[1]", "bytes.max_len"},
		"a string too long":     {&ledgerv1.SubmitRequest{Entry: good, Forwarded: &ledgerv1.Forwarded{Lane: strings.Repeat("a", 129)}}, schema.Oversize, "forwarded.lane", "string.max_len"},
		"a string's pattern":    {&ledgerv1.SubmitRequest{Entry: good, Forwarded: &ledgerv1.Forwarded{Lane: secret}}, schema.Malformed, "forwarded.lane", "string.pattern"},
		"a string's length":     {&ledgerv1.SubmitRequest{Entry: good, Forwarded: &ledgerv1.Forwarded{TraceParent: secret}}, schema.Malformed, "forwarded.trace_parent", "string.len"},
		"a name in a set":       {&ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{}, {Names: []string{"w1", secret}}}}, schema.Malformed, "witnesses[1].names[1]", "string.pattern"},
		"a range, at most":      {&ledgerv1.ListHoldsRequest{Limit: 1025}, schema.Malformed, "limit", "uint32.lte"},
		"a range, below":        {&ledgerv1.GetHoldRequest{Id: &ledgerv1.HoldId{Transaction: good, Leg: 4}}, schema.Malformed, "id.leg", "uint32.lt"},
		"a range of 64 bits":    {&ledgerv1.GetEntryRequest{EntryIndex: 1 << 63}, schema.Malformed, "entry_index", "uint64.lte"},
		"a message that lacks":  {&ledgerv1.GetHoldRequest{}, schema.Malformed, "id", "required"},
		"one of several":        {&ledgerv1.GetReceiptRequest{}, schema.Malformed, "entry", "required"},
		"a rule of the message": {&ledgerv1.GetInclusionRequest{EntryIndex: 2, Size: 2}, schema.Malformed, "", "entry_below_size"},
	} {
		t.Run(name, func(t *testing.T) {
			var v *schema.Violation
			if err := rules.Check(tc.m); !errors.As(err, &v) || v.Code != tc.code || v.Field != tc.field || v.Rule != tc.rule || v.RefusalCode() != tc.code {
				t.Fatalf("got %+v, %v", v, err)
			}
			text := v.Error()
			if !strings.HasPrefix(text, tc.code+": ") || !strings.Contains(text, tc.rule) || !strings.Contains(text, tc.field) || v.Says == "" {
				t.Errorf("it says %q", text)
			}
			if strings.Contains(text, "hunter2") || len(text) > 200 {
				t.Errorf("it quotes the request: %q", text)
			}
		})
	}
	if err := rules.Check(&ledgerv1.SubmitRequest{Entry: good, Segments: make([][]byte, 4)}); err != nil {
		t.Errorf("a request that keeps the rules: %v", err)
	}
	// Each member of a batch is checked for itself.
	if err := rules.Check(&ledgerv1.SubmitBatchRequest{Entries: []*ledgerv1.SubmitRequest{{}}}); err != nil {
		t.Errorf("a batch with an empty entry: %v", err)
	}
	if err := rules.Check(&ledgerv1.SubmitBatchRequest{Entries: make([]*ledgerv1.SubmitRequest, 1025)}); err == nil {
		t.Error("a batch of 1025 passes")
	}
	// A message that was not compiled at the start is our own fault, not a rule that is not there.
	var v *schema.Violation
	if err := rules.Check(&ledgerv1.Block{}); err == nil || errors.As(err, &v) {
		t.Errorf("a message that is no request: %v", err)
	}
}
