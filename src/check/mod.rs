//! `kcl-daemon check`: what a configuration means, whether the daemon would start with it, and what it
//! would cost. Nothing is written anywhere.
//!
//! | file | what it does |
//! |---|---|
//! | [`report`] | everything that is found out, as data; the verdict |
//! | [`offline`] | configuration → report |
//! | [`java`] | what Java would have done with the same file |
//! | [`policy`] | the smallest IAM policy |
//! | [`calls`] | expected calls per hour |
//! | [`judge`] | what a service said → ok, warning, failure |
//! | [`online`], [`permissions`] | asking the services, each step within a time limit |
//! | [`text`], [`json`] | the report for a person, and for a program |
//!
//! All but `online` and `permissions` are plain functions over plain data.

pub mod calls;
pub mod java;
pub mod json;
pub mod judge;
pub mod offline;
pub mod online;
pub mod permissions;
pub mod policy;
pub mod report;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
