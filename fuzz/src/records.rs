//! Every record, decoded from any bytes: no panic, nothing read beyond the input, and what was
//! decoded encodes to as many bytes, which decode to the same.

use core::fmt::{Debug, Write};

use zk_core::request::prep;
use zk_core::wire::client::{
    Acl, AuthPacket, ClientInfo, ConnectRequest, ConnectResponse, Create2Reply, CreateRequest,
    CreateTtlRequest, GetAclReply, GetChildren2Reply, GetDataReply, Id, MultiHeader, PathMode,
    PathRecord, PathVersion, PathWatch, ReconfigRequest, ReplyHeader, RequestHeader, SetAclRequest,
    SetDataRequest, SetWatches, SetWatches2, Stat, WatcherEvent,
};
use zk_core::wire::file::{
    FileHeader, SnapshotAcl, SnapshotDigest, SnapshotNode, SnapshotSession, StatPersisted,
};
use zk_core::wire::frame::{self, Frame};
use zk_core::wire::jute::{self, Buffer, List, Reader, Ustring};
use zk_core::wire::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn,
    CreateTxn, DeleteTxn, ErrorTxn, MultiTxn, Record, SetAclTxn, SetDataTxn, SubTxn, Txn,
    TxnDigest, TxnHeader,
};
use zk_core::wire::{Code, OpCode};

use crate::golden;

/// Takes what `Debug` shows of a record: that looks at every element of its lists.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _: &str) -> core::fmt::Result {
        Ok(())
    }
}

fn look<T: Debug>(value: &T) {
    write!(Nowhere, "{value:?}").expect("nowhere takes everything");
}

macro_rules! records {
    ($data:expr; $($record:ty,)*) => {$({
        let data: &[u8] = $data;
        let mut reader = Reader::new(data);
        if let Ok(value) = reader.read::<$record>() {
            look(&value);
            let taken = data.len() - reader.rest().len();
            let mut out = vec![];
            jute::write(&value, &mut out).expect("a vector is never full");
            assert_eq!((out.len(), jute::size(&value)), (taken, taken), "{value:?}");
            let short = taken.saturating_sub(1);
            assert!(taken == 0 || jute::encode(&value, &mut out[..short]).is_err(), "{value:?}");
            assert_eq!(jute::encode(&value, &mut out), Ok(taken));
            assert_eq!(jute::decode::<$record>(&out), Ok(value));
            let postcard = postcard::to_allocvec(&value).expect("a vector is never full");
            assert_eq!(postcard::from_bytes::<$record>(&postcard), Ok(value));
        }
        // What another format brings is not checked for elements.
        if let Ok(value) = postcard::from_bytes::<$record>(data) {
            look(&value);
            jute::write(&value, &mut vec![]).expect("a vector is never full");
        }
    })*};
}

fn transactions(data: &[u8]) {
    let Ok(txn) = Txn::decode(data) else { return };
    look(&txn);
    assert!(txn.record.path().len() <= data.len());
    if let Record::Multi(MultiTxn { txns }) = txn.record {
        for SubTxn { op, data } in txns {
            look(&Record::read(op, &mut Reader::new(data.bytes())));
        }
    }
}

fn frames(data: &[u8]) {
    let max = 1 << 16;
    let mut rest = data;
    while let Ok(first) = frame::first(rest, max) {
        match first {
            Frame::Whole(payload) => rest = &rest[frame::LEN + payload.len()..],
            Frame::Need(need) => {
                assert!(need > rest.len() && need <= frame::LEN + max);
                break;
            }
        }
    }
}

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    records! { data;
        Acl<'_>, AuthPacket<'_>, ClientInfo<'_>, ConnectRequest<'_>, ConnectResponse<'_>,
        Create2Reply<'_>, CreateRequest<'_>, CreateTtlRequest<'_>, GetAclReply<'_>,
        GetChildren2Reply<'_>, GetDataReply<'_>, Id<'_>, MultiHeader, PathMode<'_>,
        PathRecord<'_>, PathVersion<'_>, PathWatch<'_>, ReconfigRequest<'_>, ReplyHeader,
        RequestHeader, SetAclRequest<'_>, SetDataRequest<'_>, SetWatches<'_>, SetWatches2<'_>,
        Stat, WatcherEvent<'_>, Buffer<'_>, Ustring<'_>, Code, OpCode, List<'_, Ustring<'_>>,
        List<'_, ClientInfo<'_>>,
        FileHeader, SnapshotAcl<'_>, SnapshotDigest, SnapshotNode<'_>, SnapshotSession,
        StatPersisted,
        CheckVersionTxn<'_>, CloseSessionTxn<'_>, CreateContainerTxn<'_>, CreateSessionTxn,
        CreateTtlTxn<'_>, CreateTxn<'_>, DeleteTxn<'_>, ErrorTxn, MultiTxn<'_>, SetAclTxn<'_>,
        SetDataTxn<'_>, TxnDigest, TxnHeader,
    }
    transactions(data);
    frames(data);
    assert!(prep::multi_ops(data).count() <= data.len());
}

/// Every golden frame: behind its header, where it has one, lies a record.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    for golden::Frame { part, payload } in
        golden::AREAS.iter().flat_map(|area| golden::frames(area))
    {
        let header = match part.as_str() {
            "request" if payload.starts_with(&[0; 4]) => 0,
            "request" => 8,
            _ => 16,
        };
        seeds.extend(payload.get(header..).map(<[u8]>::to_vec));
    }
    let log = golden::log();
    seeds.push(log[..golden::FILE_HEADER].to_vec());
    for txn in golden::txns(&log) {
        seeds.extend([txn.to_vec(), txn[32..].to_vec()]);
    }
    seeds.sort();
    seeds.dedup();
    seeds
}
