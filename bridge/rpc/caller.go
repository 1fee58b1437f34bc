package rpc

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/callers"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
)

// Caller is who is at the other end of a connection.
type Caller struct {
	// Name is "role/name of ledger hash" from its certificate: a provider serves callers of several ledgers, and two of them may have one name.
	// callers.Local is a caller on this machine without a certificate.
	Name  string
	Roles []optionsv1.Role
}

func (c Caller) has(roles []optionsv1.Role) bool {
	return slices.ContainsFunc(c.Roles, func(role optionsv1.Role) bool {
		return role != optionsv1.Role_ROLE_UNSPECIFIED && slices.Contains(roles, role)
	})
}

var allRoles = []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR, optionsv1.Role_ROLE_BANK, optionsv1.Role_ROLE_OVERSIGHT, optionsv1.Role_ROLE_WITNESS,
	optionsv1.Role_ROLE_PEER, optionsv1.Role_ROLE_REGISTRAR, optionsv1.Role_ROLE_PROVIDER, optionsv1.Role_ROLE_PUBLIC}

func identifyLoopback(r *http.Request) (Caller, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !doors.IsLoopback(host) {
		return Caller{}, fmt.Errorf("caller %s is not on this machine", r.RemoteAddr)
	}
	return Caller{Name: callers.Local, Roles: allRoles}, nil
}

// roleOf is the role of a certificate as methods declare it.
var roleOf = map[doors.Role]optionsv1.Role{
	doors.Operator: optionsv1.Role_ROLE_OPERATOR, doors.Bank: optionsv1.Role_ROLE_BANK, doors.Oversight: optionsv1.Role_ROLE_OVERSIGHT,
	doors.Witness: optionsv1.Role_ROLE_WITNESS, doors.Peer: optionsv1.Role_ROLE_PEER, doors.Registrar: optionsv1.Role_ROLE_REGISTRAR,
	doors.Provider: optionsv1.Role_ROLE_PROVIDER, doors.Public: optionsv1.Role_ROLE_PUBLIC,
}

func identifyCertificate(d *doors.Server) func(*http.Request) (Caller, error) {
	return func(r *http.Request) (Caller, error) {
		id, err := d.Identify(r)
		if err != nil {
			return Caller{}, err
		}
		return Caller{Name: id.String() + " of ledger " + id.Ledger.String(), Roles: []optionsv1.Role{roleOf[id.Role]}}, nil
	}
}

// method is what the gate knows about one method before it reads a byte of a request.
type method struct {
	roles    []optionsv1.Role
	deadline time.Duration
	quotes   bool // it asks for a quote
}

// methodsOf reads who may call each method and how long a call may take. A method that does not say so keeps the server from starting.
func methodsOf(service protoreflect.ServiceDescriptor) (map[string]method, error) {
	out := make(map[string]method)
	methods := service.Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		options, _ := m.Options().(*descriptorpb.MethodOptions)
		roles, _ := proto.GetExtension(options, optionsv1.E_Roles).([]optionsv1.Role)
		if len(roles) == 0 || slices.Contains(roles, optionsv1.Role_ROLE_UNSPECIFIED) {
			return nil, fmt.Errorf("bridge rpc: method %s declares no roles", m.FullName())
		}
		seconds, _ := proto.GetExtension(options, optionsv1.E_DeadlineSeconds).(uint32)
		if seconds == 0 {
			return nil, fmt.Errorf("bridge rpc: method %s states no deadline", m.FullName())
		}
		if m.IsStreamingClient() || m.IsStreamingServer() {
			return nil, fmt.Errorf("bridge rpc: method %s streams, which the gate does not bound", m.FullName())
		}
		out["/"+string(service.FullName())+"/"+string(m.Name())] = method{roles, time.Duration(seconds) * time.Second, m.Name() == "Quote"}
	}
	return out, nil
}
