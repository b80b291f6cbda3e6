//! Many operations, all or nothing.

use super::{MULTI_HEADER, Prep, Progress, Refusal};
use crate::tree::Cost;
use crate::wire::client::{
    CreateMode, CreateRequest, CreateTtlRequest, MultiHeader, PathVersion, SetDataRequest,
};
use crate::wire::jute::{self, Reader, Slice};
use crate::wire::{Code, OpCode};

impl Prep<'_, '_> {
    /// All or nothing, in one transaction. The first operation that fails takes the changes of
    /// those before it back; the transaction then lists what it would have been, the failure, and
    /// `RuntimeInconsistency` for what follows.
    pub(super) fn multi(
        &mut self,
        progress: &mut Progress<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let count_at = out.len();
        jute::write(&0i32, out)?;
        let mut reader = Reader::new(progress.ask.body);
        let mut count = 0i32;
        let mut failed = false;
        progress.reply += MULTI_HEADER;
        loop {
            let header: MultiHeader = reader.read()?;
            if header.done {
                break;
            }
            count += 1;
            let op = header.op;
            // Read the operation once to know where the next begins, whatever becomes of it.
            let mut ahead = reader.clone();
            skip_op(op, &mut ahead)?;
            let at = out.len();
            progress.reply += MULTI_HEADER;
            let result = if failed {
                Err(Code::RuntimeInconsistency)
            } else {
                // Inside a multi a create is type 1: 3.8.0 and 3.8.1 silently drop the rest of a
                // multi with a create2.
                jute::write(&(op, 0i32), out)?;
                match self.multi_operation(progress, op, &mut reader, at, out) {
                    Ok(()) => Ok(()),
                    Err(Refusal::Code(code)) => Err(code),
                    Err(other) => return Err(other),
                }
            };
            match result {
                Ok(()) => {
                    let len = out.len() - at - 8;
                    out.patch(at + 4, i32::try_from(len).map_err(|_| Code::MarshallingError)?);
                }
                Err(code) => {
                    if !failed {
                        failed = true;
                        self.changes.roll_back(self.tree);
                        progress.cost = Cost::default();
                    }
                    out.truncate(at);
                    jute::write(&(OpCode::Error, 4i32, code), out)?;
                    progress.reply += 4;
                }
            }
            reader = ahead;
        }
        out.patch(count_at, count);
        Ok(())
    }

    /// An operation of a multi, whose type is written at `at`. There, unlike alone, the flags of a
    /// creation decide what it is (`Op.Create.getOpcode`).
    fn multi_operation(
        &mut self,
        progress: &mut Progress<'_>,
        op: OpCode,
        reader: &mut Reader<'_>,
        at: usize,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let (request, ttl) = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                (reader.read::<CreateRequest<'_>>()?, None)
            }
            OpCode::CreateTtl => {
                let CreateTtlRequest { create, ttl } = reader.read()?;
                (create, Some(ttl))
            }
            _ => return self.single(progress, op, reader, out),
        };
        let mode = CreateMode::from_flags(request.flags).ok_or(Refusal::Malformed)?;
        let (kind, ttl) = match (mode, ttl) {
            (CreateMode::Container, _) => (OpCode::CreateContainer, -1),
            (mode, Some(ttl)) if mode.is_ttl() => (OpCode::CreateTtl, ttl),
            // Apache fails on a TTL mode in a request that has no TTL.
            (mode, None) if mode.is_ttl() => return Err(Refusal::Malformed),
            _ => (OpCode::Create, -1),
        };
        out.patch(at, kind.0);
        self.create(progress, kind, &request, ttl, out)
    }
}

/// The operations of a multi as they were asked, with their bodies and what follows; ends where
/// that is malformed.
pub fn multi_ops(body: &[u8]) -> MultiOps<'_> {
    MultiOps(Reader::new(body))
}

/// See [`multi_ops`].
#[derive(Debug)]
pub struct MultiOps<'a>(Reader<'a>);

impl<'a> Iterator for MultiOps<'a> {
    type Item = (OpCode, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header: MultiHeader = self.0.read().ok()?;
        if header.done {
            return None;
        }
        let rest = self.0.rest();
        skip_op(header.op, &mut self.0).ok()?;
        Some((header.op, rest))
    }
}

/// Reads over an operation of a multi.
fn skip_op(op: OpCode, reader: &mut Reader<'_>) -> Result<(), Refusal> {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            let request = reader.read::<CreateRequest<'_>>()?;
            // 3.9 refuses bad flags where it decodes the multi; 3.8 takes them for persistent.
            CreateMode::from_flags(request.flags).map(|_| ()).ok_or(Refusal::Malformed)
        }
        OpCode::CreateTtl => {
            let request = reader.read::<CreateTtlRequest<'_>>()?;
            CreateMode::from_flags(request.create.flags).map(|_| ()).ok_or(Refusal::Malformed)
        }
        OpCode::Delete | OpCode::Check => Ok(reader.read::<PathVersion<'_>>().map(|_| ())?),
        OpCode::SetData => Ok(reader.read::<SetDataRequest<'_>>().map(|_| ())?),
        _ => Err(Refusal::Malformed),
    }
}
