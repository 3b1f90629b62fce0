//! Output formats: an answer goes in, the bytes that etcdctl prints for it come out. Nothing here writes anything.

mod fields;
mod json;
mod protobuf;
mod simple;
mod table;

use std::time::Duration;

use cairn_api::etcdserverpb::*;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Json,
    Fields,
    Table,
    Protobuf,
}

impl Format {
    /// Formats of answers that are one message of the API.
    pub(crate) const MESSAGE: &'static [Self] = &[Self::Simple, Self::Json, Self::Fields, Self::Protobuf];

    /// Formats of lists that the tool puts together itself.
    pub(crate) const LIST: &'static [Self] = &[Self::Simple, Self::Json, Self::Fields, Self::Table];

    pub(crate) const ALL: &'static [Self] = &[Self::Simple, Self::Json, Self::Fields, Self::Table, Self::Protobuf];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Json => "json",
            Self::Fields => "fields",
            Self::Table => "table",
            Self::Protobuf => "protobuf",
        }
    }
}

/// What a command has to print.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Get { response: RangeResponse, value_only: bool },
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Watch(WatchResponse),
    Grant(LeaseGrantResponse),
    Revoke { lease: i64, response: LeaseRevokeResponse },
    KeepAlive(LeaseKeepAliveResponse),
    TimeToLive { response: LeaseTimeToLiveResponse, keys: bool },
    Leases(LeaseLeasesResponse),
    Members(MemberListResponse),
    Alarms(AlarmResponse),
    Status(Vec<(String, StatusResponse)>),
    HashKv(Vec<(String, HashKvResponse)>),
    Health(Vec<Health>),
}

/// What was found out about an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) endpoint: String,
    pub(crate) took: Duration,
    /// `None`: it is healthy.
    pub(crate) error: Option<String>,
}

/// What goes to stdout, and what to stderr.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Answer {
    /// The answer in a format; nothing at all where the format does not exist for it.
    pub(crate) fn render(&self, format: Format, hex: bool) -> Rendered {
        match format {
            Format::Simple => simple::render(self, hex),
            Format::Json => json::render(self, hex).into(),
            Format::Fields => fields::render(self).into(),
            Format::Table => table::render(self).into(),
            Format::Protobuf => Rendered { out: protobuf::render(self), err: String::new() },
        }
    }
}

impl From<String> for Rendered {
    fn from(text: String) -> Self {
        Self { out: text.into_bytes(), err: String::new() }
    }
}

/// An alarm's name, as Go prints the enum.
fn alarm_name(alarm: &AlarmMember) -> String {
    AlarmType::try_from(alarm.alarm).map_or_else(|_| alarm.alarm.to_string(), |kind| kind.as_str_name().to_owned())
}

/// A response without a header prints as one of zeros.
fn header_or_default(header: &Option<ResponseHeader>) -> ResponseHeader {
    header.unwrap_or_default()
}

#[cfg(test)]
mod tests;
