//! Where Cairn, at the API level of etcd 3.6, is meant to answer differently from etcd 3.5.1, and why.

/// One accepted difference. It must differ exactly so: an entry that explains nothing fails the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The scenario; `*` stands for any.
    pub scenario: &'static str,
    /// The label of the step.
    pub step: &'static str,
    /// Part of what etcd 3.5.1 answers.
    pub etcd: &'static str,
    /// Part of what Cairn answers.
    pub cairn: &'static str,
    /// Why, with the section of the behaviour reference.
    pub reason: &'static str,
}

/// All of them.
pub const KNOWN_DIFFERENCES: &[Known] = &[
    Known {
        scenario: "*",
        step: "hash at the compaction",
        etcd: "error OutOfRange: etcdserver: mvcc: required revision has been compacted",
        cairn: "HashKvResponse",
        reason: "the hash at the compacted revision itself can be asked for since 3.6, as reads can (2.7)",
    },
    Known {
        scenario: "alarm_nospace_nested",
        step: "nested put",
        etcd: "TxnResponse",
        cairn: "error ResourceExhausted: etcdserver: mvcc: database space exceeded",
        reason: "puts of nested transactions count since 3.6.14 (2.12, quota)",
    },
    Known {
        scenario: "range_sort_unknown",
        step: "unknown order",
        etcd: "RangeResponse",
        cairn: "error InvalidArgument: etcdserver: invalid sort option",
        reason: "3.6 refuses sort options that it does not know (2.1, step 3)",
    },
    Known {
        scenario: "range_sort_unknown",
        step: "unknown target",
        etcd: "(not asked: 3.5 ends its process)",
        cairn: "error InvalidArgument: etcdserver: invalid sort option",
        reason: "3.6 refuses sort options that it does not know (2.1, step 3)",
    },
    Known {
        scenario: "txn_unknown_enums",
        step: "unknown sort order",
        etcd: "TxnResponse",
        cairn: "error InvalidArgument: etcdserver: invalid sort option",
        reason: "3.6 refuses sort options that it does not know (2.1, step 3)",
    },
    Known {
        scenario: "watch_negative",
        step: "negative start",
        etcd: "canceled: false",
        cairn: "cancel_reason: \"etcdserver: mvcc: required revision has been compacted\"",
        reason: "a negative start is refused since 3.5.24 (2.8, start_revision)",
    },
    Known {
        scenario: "watch_compacted_tombstone",
        step: "first event at the compaction",
        etcd: "r#type: Put",
        cairn: "r#type: Delete",
        reason: "a deletion at the compacted revision is kept since 3.5.16 (2.7)",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "endpoint status",
        etcd: "true, false",
        cairn: "false",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "endpoint hashkv",
        etcd: "",
        cairn: ", ",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "endpoint status --cluster",
        etcd: "true, false",
        cairn: "false",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "endpoint hashkv --cluster",
        etcd: "",
        cairn: ", ",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "defrag",
        etcd: "Finished defragmenting etcd member",
        cairn: "took",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, defrag)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "endpoint status",
        etcd: "dbSizeInUse",
        cairn: "storageVersion",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "endpoint hashkv",
        etcd: "HashKV",
        cairn: "hash_revision",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "endpoint status --cluster",
        etcd: "dbSizeInUse",
        cairn: "storageVersion",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "endpoint hashkv --cluster",
        etcd: "HashKV",
        cairn: "hash_revision",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "defrag",
        etcd: "Finished defragmenting etcd member",
        cairn: "took",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, defrag)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "endpoint status",
        etcd: "IsLearner",
        cairn: "DowngradeEnabled",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "endpoint hashkv",
        etcd: "",
        cairn: "HashRevision",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "endpoint status --cluster",
        etcd: "IsLearner",
        cairn: "DowngradeEnabled",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "endpoint hashkv --cluster",
        etcd: "",
        cairn: "HashRevision",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "defrag",
        etcd: "Finished defragmenting etcd member",
        cairn: "took",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, defrag)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "endpoint status",
        etcd: "RAFT INDEX",
        cairn: "DOWNGRADE ENABLED",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "endpoint hashkv",
        etcd: "",
        cairn: "HASH REVISION",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "endpoint status --cluster",
        etcd: "RAFT INDEX",
        cairn: "DOWNGRADE ENABLED",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint status)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "endpoint hashkv --cluster",
        etcd: "",
        cairn: "HASH REVISION",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, endpoint hashkv)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "defrag",
        etcd: "Finished defragmenting etcd member",
        cairn: "took",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, defrag)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "alarm disarm",
        etcd: "panic: runtime error",
        cairn: "exit code Some(0)",
        reason: "etcdctl 3.5.1 breaks down when there is no alarm to disarm",
    },
    Known {
        scenario: "cairnctl admin simple",
        step: "snapshot save {file}",
        etcd: "Snapshot saved at saved.db",
        cairn: "Server version 3.6",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, snapshot)",
    },
    Known {
        scenario: "cairnctl admin json",
        step: "snapshot save {file}",
        etcd: "Snapshot saved at saved.db",
        cairn: "Server version 3.6",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, snapshot)",
    },
    Known {
        scenario: "cairnctl admin fields",
        step: "snapshot save {file}",
        etcd: "Snapshot saved at saved.db",
        cairn: "Server version 3.6",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, snapshot)",
    },
    Known {
        scenario: "cairnctl admin table",
        step: "snapshot save {file}",
        etcd: "Snapshot saved at saved.db",
        cairn: "Server version 3.6",
        reason: "cairnctl prints what etcdctl 3.6 prints (4.4, snapshot)",
    },
];

/// The entries for a scenario.
#[must_use]
pub fn known_in(scenario: &str) -> Vec<&'static Known> {
    KNOWN_DIFFERENCES.iter().filter(|known| [scenario, "*"].contains(&known.scenario)).collect()
}
