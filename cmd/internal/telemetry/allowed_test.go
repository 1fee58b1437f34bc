package telemetry

// allowed are the attributes that spans may have, as METRICS.md lists them.
var allowed = []string{
	"entry.id", "entry.kind", "entry.index", "block.height", "block.entries", "batch.entries", "batch.proofs", "checkpoint.size", "hold.id", "quote.id",
	"outcome", "code", "exit.code", "on", "relay.resolutions",
	"rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "rpc.connect_rpc.error_code", "rpc.response.status_code", "rpc.grpc.status_code",
	"error.type", "server.address", "server.port", "network.peer.address", "network.peer.port", "http.request.method", "http.response.status_code",
}
