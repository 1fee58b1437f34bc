package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/callers"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Caller is who is at the other end of a connection. Its roles come from the connection, never from a message.
type Caller struct {
	Name  string
	Roles []optionsv1.Role
	// Local is a caller on this machine without a certificate.
	Local bool
}

// Has reports whether the caller holds one of the roles.
func (c Caller) Has(roles []optionsv1.Role) bool {
	return slices.ContainsFunc(roles, func(r optionsv1.Role) bool {
		return r != optionsv1.Role_ROLE_UNSPECIFIED && slices.Contains(c.Roles, r)
	})
}

// account is the name that a caller's limits go by.
func (c Caller) account() string {
	if c.Local {
		return callers.Local
	}
	return "caller " + c.Name // never the name of those without limits
}

// allRoles is what a caller on this machine may be: whoever can connect to a loopback port can also read the node's files.
var allRoles = []optionsv1.Role{
	optionsv1.Role_ROLE_OPERATOR, optionsv1.Role_ROLE_BANK, optionsv1.Role_ROLE_OVERSIGHT, optionsv1.Role_ROLE_WITNESS, optionsv1.Role_ROLE_PEER,
	optionsv1.Role_ROLE_REGISTRAR, optionsv1.Role_ROLE_PROVIDER, optionsv1.Role_ROLE_PUBLIC,
}

// roleOf is the role of a certificate as methods declare it.
var roleOf = map[doors.Role]optionsv1.Role{
	doors.Operator: optionsv1.Role_ROLE_OPERATOR, doors.Bank: optionsv1.Role_ROLE_BANK, doors.Oversight: optionsv1.Role_ROLE_OVERSIGHT,
	doors.Witness: optionsv1.Role_ROLE_WITNESS, doors.Peer: optionsv1.Role_ROLE_PEER, doors.Registrar: optionsv1.Role_ROLE_REGISTRAR,
	doors.Provider: optionsv1.Role_ROLE_PROVIDER, doors.Public: optionsv1.Role_ROLE_PUBLIC,
}

// IdentifyCertificate knows callers by their certificates: the one role that it states, and "role/name" as the name.
func IdentifyCertificate(d *doors.Server) func(*http.Request) (Caller, error) {
	return func(r *http.Request) (Caller, error) {
		id, err := d.Identify(r)
		if err != nil {
			return Caller{}, err
		}
		return Caller{Name: id.String(), Roles: []optionsv1.Role{roleOf[id.Role]}}, nil
	}
}

// unidentified refuses a caller that Identify did not take, by the name that its certificate was refused by.
func unidentified(err error) error {
	if r := (*doors.Refusal)(nil); errors.As(err, &r) {
		return entry.Refuse(entry.Code(r.Code), "%s", r.Detail)
	}
	return entry.Refuse(CodeRoleNotAllowed, "%v", err)
}

// IdentifyLoopback gives every role to callers on a loopback address and none to any other. It is for servers without TLS.
func IdentifyLoopback(r *http.Request) (Caller, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !isLoopback(host) {
		return Caller{}, fmt.Errorf("caller %s is not on this machine", r.RemoteAddr)
	}
	return Caller{Name: "loopback", Roles: allRoles, Local: true}, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

type callerKey struct{}

// CallerFrom returns the caller of the request whose context ctx is.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// procedure is what the gate knows about one method before it reads a byte of the request.
type procedure struct {
	roles     []optionsv1.Role
	bodyBytes int64
	deadline  time.Duration
	streams   bool
}

// proceduresOf reads the options of every method of the service. A method without roles or a deadline is an error: a new method must
// say who may call it, and how long a call may take.
func proceduresOf(service protoreflect.ServiceDescriptor) (map[string]procedure, error) {
	rules := make(map[string]procedure)
	methods := service.Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		path := "/" + string(service.FullName()) + "/" + string(m.Name())
		options, _ := m.Options().(*descriptorpb.MethodOptions)
		roles, _ := proto.GetExtension(options, optionsv1.E_Roles).([]optionsv1.Role)
		if len(roles) == 0 || slices.Contains(roles, optionsv1.Role_ROLE_UNSPECIFIED) {
			return nil, fmt.Errorf("rpc: method %s declares no roles", m.FullName())
		}
		if m.IsStreamingClient() {
			return nil, fmt.Errorf("rpc: method %s streams from the client, which the gate does not bound", m.FullName())
		}
		seconds, _ := proto.GetExtension(options, optionsv1.E_DeadlineSeconds).(uint32)
		if seconds == 0 {
			return nil, fmt.Errorf("rpc: method %s states no deadline", m.FullName())
		}
		size := int64(maxSmallBytes)
		switch m.Name() {
		case "Submit":
			size = maxSubmitBytes
		case "SubmitBatch":
			size = maxBatchBytes
		}
		rules[path] = procedure{roles: roles, bodyBytes: size, deadline: time.Duration(seconds) * time.Second, streams: m.IsStreamingServer()}
	}
	if len(rules) == 0 {
		return nil, errors.New("rpc: the service has no methods")
	}
	return rules, nil
}
