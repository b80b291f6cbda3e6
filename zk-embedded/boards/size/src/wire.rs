//! The codec's part: every request and reply, and every transaction.

use core::hint::black_box;

use serde::{Deserialize, Serialize};
use zk_core::wire::client::{
    AuthPacket, ClientInfo, ConnectRequest, ConnectResponse, Create2Reply, CreateRequest,
    CreateTtlRequest, GetAclReply, GetChildren2Reply, GetDataReply, MultiHeader, PathMode,
    PathRecord, PathVersion, PathWatch, ReplyHeader, RequestHeader, SetAclRequest, SetDataRequest,
    SetWatches, SetWatches2, Stat, WatcherEvent,
};
use zk_core::wire::txn::{Record, Txn};
use zk_core::wire::{frame, jute};

use crate::input;
use crate::tree::State;

fn reads<T: Deserialize<'static>>() {
    black_box(jute::decode::<T>(input()).is_ok());
}

/// What is answered has to be made: decoding gives the compiler a value that it does not know.
fn writes<T: Deserialize<'static> + Serialize>() {
    let mut out = black_box([0; 256]);
    if let Ok(value) = jute::decode::<T>(input()) {
        black_box(jute::encode(&value, &mut out).is_ok());
    }
    black_box(&out);
}

/// Requests in, replies out.
pub(crate) fn request() {
    black_box(frame::first(input(), black_box(1024)).is_ok());
    reads::<ConnectRequest<'_>>();
    reads::<RequestHeader>();
    reads::<CreateRequest<'_>>();
    reads::<CreateTtlRequest<'_>>();
    reads::<PathVersion<'_>>();
    reads::<PathWatch<'_>>();
    reads::<PathMode<'_>>();
    reads::<SetDataRequest<'_>>();
    reads::<SetAclRequest<'_>>();
    reads::<AuthPacket<'_>>();
    reads::<SetWatches<'_>>();
    reads::<SetWatches2<'_>>();
    writes::<ConnectResponse<'_>>();
    writes::<ReplyHeader>();
    writes::<MultiHeader>();
    writes::<PathRecord<'_>>();
    writes::<Stat>();
    writes::<Create2Reply<'_>>();
    writes::<GetDataReply<'_>>();
    writes::<GetAclReply<'_>>();
    writes::<GetChildren2Reply<'_>>();
    writes::<ClientInfo<'_>>();
    writes::<WatcherEvent<'_>>();
}

/// A transaction from the log or from a leader, applied, and written again.
pub(crate) fn transaction(state: &mut State<'_>) {
    let Ok(txn) = Txn::decode(input()) else { return };
    let mut out = black_box([0; 256]);
    let written = match &txn.record {
        Record::Create(record) => jute::encode(record, &mut out),
        Record::CreateContainer(record) => jute::encode(record, &mut out),
        Record::CreateTtl(record) => jute::encode(record, &mut out),
        Record::Delete(record) => jute::encode(record, &mut out),
        Record::SetData(record) => jute::encode(record, &mut out),
        Record::SetAcl(record) => jute::encode(record, &mut out),
        Record::Check(record) => jute::encode(record, &mut out),
        Record::Multi(record) => jute::encode(record, &mut out),
        Record::Error(record) => jute::encode(record, &mut out),
        Record::CreateSession(record) => jute::encode(record, &mut out),
        Record::CloseSession(record) => {
            record.as_ref().map_or(Ok(0), |record| jute::encode(record, &mut out))
        }
    };
    black_box((written.is_ok(), &out));
    state.apply(&txn);
}
