// Package telemetry makes a process of comity visible from outside: it sets up the OpenTelemetry SDK from flags or the environment, gives
// metrics to Prometheus and traces, metrics and the log to a collector, serves health and readiness, and puts the ids of the running trace on
// every line of the log.
//
// Packages that measure use the OpenTelemetry API alone; only this package knows the SDK. Without flags nothing is set up and measuring
// costs next to nothing. What may stand in an attribute is listed in deploy/observability/METRICS.md: ids that the log publishes, names,
// counts and codes, never an amount of a payment, an address, a reference, a key, a path or text from a caller.
package telemetry
