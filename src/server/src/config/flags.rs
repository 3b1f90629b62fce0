//! Every flag that etcd 3.5 to 3.8 knows, and the few of our own: one table from which parsing, help, man page,
//! completions and refusals follow.

/// What the value of a flag looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--flag` or `--flag=true|false`.
    Bool,
    /// `--flag value`; the text is the value's name in the help.
    Value(&'static str),
}

/// What this program does with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It has the effect that its help says.
    Works,
    /// Only the values that describe what this program does anyway; the text says what to do instead of others.
    Only(&'static [&'static str], &'static str),
    /// Nothing; the text says what to do instead.
    Refused(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In etcd's notation; empty: none.
    pub(crate) default: &'static str,
    pub(crate) support: Support,
    pub(crate) help: &'static str,
}

const fn works(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Value(value), default, support: Support::Works, help }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Bool, default: "false", support: Support::Works, help }
}

const fn only(name: &'static str, values: &'static [&'static str], instead: &'static str) -> Flag {
    Flag { name, kind: Kind::Value("VALUE"), default: values[0], support: Support::Only(values, instead), help: "" }
}

const fn only_bool(name: &'static str, value: &'static [&'static str], instead: &'static str) -> Flag {
    Flag { name, kind: Kind::Bool, default: value[0], support: Support::Only(value, instead), help: "" }
}

const fn refused(name: &'static str, instead: &'static str) -> Flag {
    Flag { name, kind: Kind::Value("VALUE"), default: "", support: Support::Refused(instead), help: "" }
}

const fn refused_bool(name: &'static str, instead: &'static str) -> Flag {
    only_bool(name, &["false"], instead)
}

const TLS: &str = "TLS is not supported yet; leave it out and listen on a trusted address only";
const DISCOVERY: &str = "discovery is not supported; name the member with --initial-cluster";
const AUTH: &str = "users and roles are not supported yet; leave it out";
const TRACING: &str = "tracing is not supported yet; leave it out";
const CORRUPTION: &str = "checks between members need more than one member, which is not supported yet; leave it out";
const RAFT_HTTP: &str = "connections to other members are not supported yet; leave it out";
const BACKEND: &str = "it tunes etcd's storage engine, which is not used here; use --memory-budget";
const LOG_BY_BYTES: &str =
    "the Raft log is released by bytes as soon as the store has them on disk, not by a number of entries; leave it out";
const ROTATION: &str = "rotate the file given to --log-outputs with the system's own tools, or log to stderr";
const HTTP: &str = "there is one listener for clients, which serves gRPC, /health and /version; leave it out";

/// The table. Those that work come first, in the order of the help.
pub(crate) const FLAGS: &[Flag] = &[
    works("name", "NAME", "default", "Name of this member"),
    works("data-dir", "DIR", "", "Where the data is kept; the default is <name>.cairn in the current directory"),
    works(
        "wal-dir",
        "DIR",
        "",
        "Where the Raft log is kept, for a disk of its own; the default is within the data directory",
    ),
    works("listen-client-urls", "URLS", "http://localhost:2379", "Addresses to serve clients on, separated by commas"),
    works(
        "advertise-client-urls",
        "URLS",
        "http://localhost:2379",
        "Addresses that clients are told to use; must be given with --listen-client-urls",
    ),
    works(
        "listen-peer-urls",
        "URLS",
        "http://localhost:2380",
        "Checked for its form only: this version has one member and opens no peer listener",
    ),
    works(
        "initial-advertise-peer-urls",
        "URLS",
        "http://localhost:2380",
        "Peer addresses of this member; they determine its id and appear in the member list",
    ),
    works(
        "initial-cluster",
        "NAME=URL",
        "",
        "The members of a new cluster; exactly this one. The default is <name>=<initial-advertise-peer-urls>",
    ),
    works("initial-cluster-token", "TOKEN", "etcd-cluster", "Makes the ids of a new cluster unique"),
    only("initial-cluster-state", &["new"], "joining a running cluster is not supported yet"),
    works("heartbeat-interval", "MS", "100", "Milliseconds between two heartbeats of the leader"),
    works(
        "election-timeout",
        "MS",
        "1000",
        "Milliseconds without a leader after which a member stands for election; at least 5 heartbeats, at most 50000",
    ),
    works(
        "memory-budget",
        "BYTES",
        "",
        "Memory for the store's caches and buffers, as bytes or with KiB, MiB, GiB; the default is an eighth of the RAM, at most 192MiB",
    ),
    works(
        "quota-backend-bytes",
        "BYTES",
        "0",
        "Size of the store at which writes are refused with the alarm NOSPACE; 0: when the disk has less than 256 MiB left; negative: never",
    ),
    works("max-txn-ops", "N", "128", "Most operations in one list of a transaction"),
    works("max-request-bytes", "BYTES", "1572864", "Largest request"),
    works("max-concurrent-streams", "N", "4294967295", "Most requests at once on one connection"),
    works(
        "grpc-keepalive-interval",
        "DURATION",
        "2h",
        "How long a connection may be silent before the server asks whether the client is there; 0s: never",
    ),
    works(
        "grpc-keepalive-timeout",
        "DURATION",
        "20s",
        "How long the answer to that may take before the connection is closed",
    ),
    works(
        "auto-compaction-mode",
        "MODE",
        "periodic",
        "periodic: keep the history of a period; revision: keep a number of revisions",
    ),
    works(
        "auto-compaction-retention",
        "PERIOD|N",
        "0",
        "The period (a bare number means hours) or number of revisions to keep; 0: no automatic compaction",
    ),
    works("compaction-batch-limit", "N", "1000", "Most revisions that one step of a compaction looks at"),
    works("compaction-sleep-interval", "DURATION", "10ms", "Pause between two steps of a compaction"),
    works(
        "watch-progress-notify-interval",
        "DURATION",
        "10m",
        "How often an idle watcher that asked for it is told the revision",
    ),
    works("warning-apply-duration", "DURATION", "100ms", "Applying a batch that takes longer is logged"),
    works("warning-unary-request-duration", "DURATION", "300ms", "A request that takes longer is logged"),
    switch("socket-reuse-port", "Let several processes listen on the same port (SO_REUSEPORT)"),
    switch("socket-reuse-address", "Listen on an address whose old connections still linger (SO_REUSEADDR)"),
    switch(
        "unsafe-no-fsync",
        "Do not wait for the disk. Loses acknowledged writes when the machine stops; for tests only",
    ),
    works("log-level", "LEVEL", "info", "debug, info, warn, error, panic or fatal"),
    works("log-format", "FORMAT", "json", "json or console"),
    works("log-outputs", "OUTPUTS", "default", "stderr (default), stdout or paths of files, separated by commas"),
    only("logger", &["zap"], "there is one logger, whose lines have zap's keys"),
    only("grpc-keepalive-min-time", &["5s"], "clients may ping as often as they like; leave it out"),
    only_bool("strict-reconfig-check", &["true"], "the check cannot be switched off; leave it out"),
    only_bool("pre-vote", &["true"], "elections always begin with a pre-vote; leave it out"),
    only_bool("initial-election-tick-advance", &["true"], "a single member stands for election at once; leave it out"),
    only("snapshot-count", &["10000", "100000"], LOG_BY_BYTES),
    only("snapshot-catchup-entries", &["5000"], LOG_BY_BYTES),
    only("max-wals", &["5"], LOG_BY_BYTES),
    only("max-snapshots", &["5"], LOG_BY_BYTES),
    only("max-learners", &["1"], "more than one member is not supported yet; leave it out"),
    only("auth-token", &["simple"], AUTH),
    only("auth-token-ttl", &["300"], AUTH),
    only("bcrypt-cost", &["10"], AUTH),
    only_bool("enable-grpc-gateway", &["false"], "the JSON gateway is not supported yet; leave it out"),
    only("metrics", &["basic"], "metrics are not supported yet; leave it out"),
    refused(
        "listen-metrics-urls",
        "metrics are not supported yet; /health and /version are served on the client addresses",
    ),
    refused("listen-client-http-urls", HTTP),
    refused("config-file", "configuration files are not supported yet; use flags or environment variables"),
    refused(
        "feature-gates",
        "there are no feature gates: lease checkpoints and fast keep-alives are always on; leave it out",
    ),
    refused_bool(
        "force-new-cluster",
        "more than one member is not supported yet, so there is nothing to reduce; leave it out",
    ),
    refused_bool("memory-mlock", "use --memory-budget, and the limits of the service manager"),
    refused_bool("enable-pprof", "it profiles Go programs; use perf"),
    refused("cors", "the JSON gateway is not supported yet; leave it out"),
    refused("host-whitelist", "the JSON gateway is not supported yet; leave it out"),
    refused("raft-read-timeout", RAFT_HTTP),
    refused("raft-write-timeout", RAFT_HTTP),
    only("backend-bbolt-freelist-type", &["map"], BACKEND),
    only("backend-batch-interval", &["0", "0s"], BACKEND),
    only("backend-batch-limit", &["0"], BACKEND),
    only("bootstrap-defrag-threshold-megabytes", &["0"], "there is nothing to defragment; leave it out"),
    only("downgrade-check-time", &["5s"], "downgrades are not supported yet; leave it out"),
    refused("v2-deprecation", "there is no v2 store; leave it out"),
    refused_bool("enable-v2", "there is no v2 store; leave it out"),
    refused("discovery", DISCOVERY),
    refused("discovery-proxy", DISCOVERY),
    only("discovery-fallback", &["exit"], DISCOVERY),
    refused("discovery-token", DISCOVERY),
    refused("discovery-endpoints", DISCOVERY),
    refused("discovery-dial-timeout", DISCOVERY),
    refused("discovery-request-timeout", DISCOVERY),
    refused("discovery-keepalive-time", DISCOVERY),
    refused("discovery-keepalive-timeout", DISCOVERY),
    only_bool("discovery-insecure-transport", &["true"], DISCOVERY),
    refused_bool("discovery-insecure-skip-tls-verify", DISCOVERY),
    refused("discovery-cert", DISCOVERY),
    refused("discovery-key", DISCOVERY),
    refused("discovery-cacert", DISCOVERY),
    refused("discovery-user", DISCOVERY),
    refused("discovery-password", DISCOVERY),
    refused("discovery-srv", DISCOVERY),
    refused("discovery-srv-name", DISCOVERY),
    refused("cert-file", TLS),
    refused("key-file", TLS),
    refused("client-cert-file", TLS),
    refused("client-key-file", TLS),
    refused_bool("client-cert-auth", TLS),
    refused("client-crl-file", TLS),
    refused("client-cert-allowed-hostname", TLS),
    refused("trusted-ca-file", TLS),
    refused_bool("auto-tls", TLS),
    refused("peer-cert-file", TLS),
    refused("peer-key-file", TLS),
    refused("peer-client-cert-file", TLS),
    refused("peer-client-key-file", TLS),
    refused_bool("peer-client-cert-auth", TLS),
    refused("peer-trusted-ca-file", TLS),
    refused("peer-crl-file", TLS),
    refused("peer-cert-allowed-cn", TLS),
    refused("peer-cert-allowed-hostname", TLS),
    refused_bool("peer-auto-tls", TLS),
    refused_bool("peer-skip-client-san-verification", TLS),
    only("self-signed-cert-validity", &["1"], TLS),
    refused("cipher-suites", TLS),
    only("tls-min-version", &["TLS1.2"], TLS),
    refused("tls-max-version", TLS),
    refused_bool("enable-log-rotation", ROTATION),
    refused("log-rotation-config-json", ROTATION),
    refused_bool("enable-distributed-tracing", TRACING),
    refused("distributed-tracing-address", TRACING),
    refused("distributed-tracing-service-name", TRACING),
    refused("distributed-tracing-instance-id", TRACING),
    refused("distributed-tracing-sampling-rate", TRACING),
    only("corrupt-check-time", &["0s"], CORRUPTION),
    only("compact-hash-check-time", &["1m", "1m0s"], CORRUPTION),
    refused_bool("experimental-initial-corrupt-check", CORRUPTION),
    refused("experimental-corrupt-check-time", CORRUPTION),
    refused_bool("experimental-compact-hash-check-enabled", CORRUPTION),
    refused("experimental-compact-hash-check-time", CORRUPTION),
    refused_bool("experimental-enable-v2v3", "there is no v2 store; leave it out"),
    only_bool("experimental-enable-lease-checkpoint", &["true"], "lease checkpoints are always on; leave it out"),
    only_bool(
        "experimental-enable-lease-checkpoint-persist",
        &["true"],
        "lease checkpoints are always on; leave it out",
    ),
    refused_bool("experimental-stop-grpc-service-on-defrag", "there is nothing to defragment; leave it out"),
    only_bool(
        "experimental-txn-mode-write-with-shared-buffer",
        &["true"],
        "reads in transactions never copy the write buffer; leave it out",
    ),
    refused("experimental-bootstrap-defrag-threshold-megabytes", "there is nothing to defragment; leave it out"),
    refused("experimental-max-learners", "more than one member is not supported yet; leave it out"),
    refused("experimental-downgrade-check-time", "downgrades are not supported yet; leave it out"),
    refused("experimental-snapshot-catchup-entries", LOG_BY_BYTES),
    refused_bool("experimental-memory-mlock", "use --memory-budget, and the limits of the service manager"),
    refused("experimental-backend-bbolt-freelist-type", BACKEND),
    refused_bool("experimental-peer-skip-client-san-verification", TLS),
    refused_bool("experimental-enable-distributed-tracing", TRACING),
    refused("experimental-distributed-tracing-address", TRACING),
    refused("experimental-distributed-tracing-service-name", TRACING),
    refused("experimental-distributed-tracing-instance-id", TRACING),
    refused("experimental-distributed-tracing-sampling-rate", TRACING),
];

/// Names that older releases of etcd gave to flags of the table.
pub(crate) const ALIASES: &[(&str, &str)] = &[
    ("experimental-watch-progress-notify-interval", "watch-progress-notify-interval"),
    ("experimental-compaction-batch-limit", "compaction-batch-limit"),
    ("experimental-compaction-sleep-interval", "compaction-sleep-interval"),
    ("experimental-warning-apply-duration", "warning-apply-duration"),
    ("experimental-warning-unary-request-duration", "warning-unary-request-duration"),
];

/// Flags of etcd's first releases: etcd still accepts them with a warning, and so does this program.
pub(crate) const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

/// The flag of this name, current or old.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    FLAGS.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_is_in_the_table_twice_and_every_old_name_leads_to_one() {
        let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(ALIASES.iter().all(|(old, _)| find(old).is_some()));
    }

    #[test]
    fn every_flag_that_works_says_what_it_does_and_every_other_what_to_do_instead() {
        for flag in FLAGS {
            match flag.support {
                Support::Works => assert!(!flag.help.is_empty(), "{}", flag.name),
                Support::Only(values, instead) => assert!(!values.is_empty() && !instead.is_empty(), "{}", flag.name),
                Support::Refused(instead) => assert!(!instead.is_empty(), "{}", flag.name),
            }
        }
    }
}
