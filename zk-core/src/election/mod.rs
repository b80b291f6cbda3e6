//! stub
use crate::id::*; use crate::memory::Table; use crate::quorum::Quorums; use crate::time::Instant; use crate::wire::election::Notification;
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub enum ServerState{Looking,Following,Leading,Observing}
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub struct Vote{pub leader:ServerId,pub zxid:Zxid,pub round:i64,pub peer_epoch:i64}
#[derive(Clone,Copy,Debug,Default)] pub struct Options{}
#[derive(Clone,Copy,Debug,Default)] pub struct Voter{}
#[derive(Debug)] pub struct Election<'m>{t:Table<'m,Voter>}
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub enum Greeting{Keep,Drop,CallBack}
pub fn greet(_:ServerId,_:ServerId,_:bool)->Greeting{Greeting::Keep}
impl<'m> Election<'m>{
 pub fn new(t:Table<'m,Voter>,_:ServerId,_:Options)->Self{Self{t}}
 pub fn set_me(&mut self,_:ServerId){}
 pub fn look(&mut self,_:Instant,_:&Quorums<'_>,_:Zxid,_:i64){}
 pub fn receive(&mut self,_:Instant,_:&Quorums<'_>,_:ServerId,_:&Notification<'_>){}
 pub fn tick(&mut self,_:Instant,_:&Quorums<'_>){}
 pub fn decided(&self)->Option<(Vote,ServerState)>{None}
 pub fn set_epoch(&mut self,_:i64){}
 pub fn link_up(&mut self,_:ServerId){}
 pub fn link_down(&mut self,_:ServerId){}
 pub fn call_back(&mut self,_:ServerId){}
 pub fn wants(&self,_:ServerId)->bool{false}
 pub fn poll_vote(&mut self,_:ServerId)->Option<(ServerState,Vote)>{None}
 pub fn poll_timeout(&self)->Option<Instant>{None}
}
