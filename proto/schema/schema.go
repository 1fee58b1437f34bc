// Package schema checks requests by the rules that stand beside their fields in the .proto files (buf.validate): lengths of ids, hashes and
// bytes, sizes of lists, ranges, and what must be there.
//
// It owns that check and the names of its refusals. It says nothing of what a request means: bytes that are hashed and signed are parsed and
// judged by the cores, which refuse on their own whatever is refused here about them.
package schema

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The names of refusals.
const (
	// Malformed: a field breaks a rule that has no name of its own.
	Malformed = "malformed"
	// Oversize: a field has more bytes than its rule allows.
	Oversize = "oversize"
	// BatchTooLong: a list has more members than its rule allows.
	BatchTooLong = "batch_too_long"
)

// codes are the rules whose breach has a name of its own.
var codes = map[string]string{
	"bytes.max_len": Oversize, "string.max_len": Oversize, "string.max_bytes": Oversize,
	"repeated.max_items": BatchTooLong, "map.max_pairs": BatchTooLong,
}

// Violation is a rule that a request breaks. It quotes nothing of the request: Field is a path of names and indexes, such as
// "entries[3].segments[0]", empty for a rule of the whole message; Rule is its id, such as "bytes.len"; Says is its own text.
type Violation struct {
	Code              string
	Field, Rule, Says string
}

// Error gives "code: detail".
func (v *Violation) Error() string { return v.Code + ": " + v.Detail() }

// Detail names the field and the rule.
func (v *Violation) Detail() string {
	where := v.Field
	if where == "" {
		where = "the request"
	}
	return fmt.Sprintf("%s: %s (%s)", where, v.Says, v.Rule)
}

// RefusalCode names the refusal for those who map errors to answers.
func (v *Violation) RefusalCode() string { return v.Code }

// Rules are the compiled rules of the requests of some services. They are safe for concurrent use and never grow.
type Rules struct {
	validator protovalidate.Validator
}

// Compile compiles the rules of every request of the services, and of every message in one. It fails when a rule does not fit its field, so that
// a server with such a schema does not start.
func Compile(services ...protoreflect.ServiceDescriptor) (*Rules, error) {
	messages := Requests(services...)
	validator, err := protovalidate.New(protovalidate.WithMessageDescriptors(messages...), protovalidate.WithDisableLazy(), protovalidate.WithFailFast())
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	for _, m := range messages {
		// The library keeps an error of compilation until the message is looked at for the first time. An empty message may well break a rule.
		err := validator.Validate(dynamicpb.NewMessage(m))
		if broken := (*protovalidate.ValidationError)(nil); err != nil && !errors.As(err, &broken) {
			return nil, fmt.Errorf("schema: the rules of %s: %w", m.FullName(), err)
		}
	}
	return &Rules{validator}, nil
}

// Requests gives every request message of the services, and every message that one can hold, each once.
func Requests(services ...protoreflect.ServiceDescriptor) []protoreflect.MessageDescriptor {
	var out []protoreflect.MessageDescriptor
	seen := map[protoreflect.FullName]bool{}
	var add func(protoreflect.MessageDescriptor)
	add = func(m protoreflect.MessageDescriptor) {
		if m == nil || seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		out = append(out, m)
		for i := range m.Fields().Len() {
			add(m.Fields().Get(i).Message())
		}
	}
	for _, s := range services {
		for i := range s.Methods().Len() {
			add(s.Methods().Get(i).Input())
		}
	}
	return out
}

// Check returns nil or the first rule that m breaks, a *Violation. Any other error is our own fault: m is none of the compiled messages.
func (r *Rules) Check(m proto.Message) error {
	err := r.validator.Validate(m)
	if err == nil {
		return nil
	}
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) || len(broken.Violations) == 0 {
		return fmt.Errorf("schema: %w", err)
	}
	p := broken.Violations[0].Proto
	v := &Violation{Code: codes[p.GetRuleId()], Field: protovalidate.FieldPathString(p.GetField()), Rule: p.GetRuleId(), Says: p.GetMessage()}
	if v.Code == "" {
		v.Code = Malformed
	}
	return v
}

// Interceptor checks every request that a handler receives, in a call or a stream, before the handler sees it. answer makes an error into what the
// caller is told.
func (r *Rules) Interceptor(answer func(context.Context, error) error) connect.Interceptor {
	return &interceptor{r, answer}
}

type interceptor struct {
	rules  *Rules
	answer func(context.Context, error) error
}

func (i *interceptor) check(ctx context.Context, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return i.answer(ctx, fmt.Errorf("schema: a request of type %T", message))
	}
	if err := i.rules.Check(m); err != nil {
		return i.answer(ctx, err)
	}
	return nil
}

// WrapUnary implements connect.Interceptor.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if err := i.check(ctx, request.Any()); err != nil {
			return nil, err
		}
		return next(ctx, request)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, &checked{conn, ctx, i})
	}
}

// WrapStreamingClient implements connect.Interceptor: what a client sends is for the server to check.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// checked is the server's end of a stream whose requests are checked one by one.
type checked struct {
	connect.StreamingHandlerConn
	ctx context.Context // of the call
	by  *interceptor
}

// Receive implements connect.StreamingHandlerConn.
func (c *checked) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	return c.by.check(c.ctx, message)
}
