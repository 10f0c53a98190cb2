//! Stream ARNs: `properties.md` §4 d and §5.2 with its correction.

use std::fmt;

/// A stream's ARN, or that of a consumer of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamArn {
    /// `aws`, `aws-cn`, `aws-us-gov` …
    pub partition: String,
    /// The stream's region.
    pub region: String,
    /// The owner's account, twelve digits.
    pub account: String,
    /// The stream's name.
    pub stream_name: String,
    /// What follows the name, if it was a consumer's ARN: `consumer/<name>:<creation>`.
    pub consumer: Option<String>,
}

/// Why a text is no stream ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStreamArn {
    /// The beginning is missing.
    #[error("it does not start with 'arn:'")]
    NoArn,
    /// Another part is wrong.
    #[error("it has the form arn:aws:kinesis:<region>:<12-digit account>:stream/<name>")]
    Form,
}

impl StreamArn {
    /// Parses `arn:aws[…]:kinesis:<region>:<12 digits>:stream/<name>[/consumer/…]`.
    ///
    /// # Errors
    /// Anything that Java refuses, and ARNs whose stream name is empty.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamArn> {
        let rest = text.strip_prefix("arn:").ok_or(InvalidStreamArn::NoArn)?;
        let mut parts = rest.splitn(5, ':');
        let mut next = || parts.next().ok_or(InvalidStreamArn::Form);
        let (partition, service, region, account, resource) =
            (next()?, next()?, next()?, next()?, next()?);
        let resource = resource
            .strip_prefix("stream/")
            .ok_or(InvalidStreamArn::Form)?;
        let (stream_name, consumer) = match resource.split_once('/') {
            Some((name, consumer)) => (name, Some(consumer.to_owned())),
            None => (resource, None),
        };
        let region_is_good = !region.is_empty()
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let account_is_good = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !partition.starts_with("aws")
            || service != "kinesis"
            || !region_is_good
            || !account_is_good
            || stream_name.is_empty()
        {
            return Err(InvalidStreamArn::Form);
        }
        Ok(Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            stream_name: stream_name.to_owned(),
            consumer,
        })
    }

    /// Whether it is the one that the published sample files carry to be replaced: an account of
    /// zeros, or the region `us-east-5` that does not exist (`decisions.md`).
    #[must_use]
    pub fn is_sample(&self) -> bool {
        self.account.bytes().all(|b| b == b'0') || self.region == "us-east-5"
    }
}

impl fmt::Display for StreamArn {
    /// The stream's ARN, without a consumer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arn:{}:kinesis:{}:{}:stream/{}",
            self.partition, self.region, self.account, self.stream_name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_arn_is_taken_apart_and_put_together() {
        let text = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders";
        let arn = StreamArn::parse(text).unwrap();
        assert_eq!(
            (
                arn.partition.as_str(),
                arn.region.as_str(),
                arn.account.as_str(),
                arn.stream_name.as_str()
            ),
            ("aws-cn", "cn-north-1", "123456789012", "orders")
        );
        assert_eq!((arn.to_string(), arn.consumer), (text.to_owned(), None));
    }

    #[test]
    fn a_consumer_arn_gives_the_streams_name() {
        let arn =
            StreamArn::parse("arn:aws:kinesis:us-east-1:123456789012:stream/foo/consumer/c:1")
                .unwrap();
        assert_eq!(arn.stream_name, "foo");
        assert_eq!(arn.consumer.as_deref(), Some("consumer/c:1"));
        assert_eq!(
            arn.to_string(),
            "arn:aws:kinesis:us-east-1:123456789012:stream/foo"
        );
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "arn:",
            "arn:aws",
            "arn:azure:kinesis:us-east-1:123456789012:stream/a",
            "arn:aws:sqs:us-east-1:123456789012:stream/a",
            "arn:aws:kinesis:US-EAST-1:123456789012:stream/a",
            "arn:aws:kinesis::123456789012:stream/a",
            "arn:aws:kinesis:us-east-1:12345678901:stream/a",
            "arn:aws:kinesis:us-east-1:12345678901x:stream/a",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream//x",
            "arn:aws:kinesis:us-east-1:123456789012:table/a",
        ] {
            assert_eq!(
                StreamArn::parse(text),
                Err(InvalidStreamArn::Form),
                "{text}"
            );
        }
        assert_eq!(StreamArn::parse("orders"), Err(InvalidStreamArn::NoArn));
    }

    #[test]
    fn the_samples_dummy_is_known() {
        for (text, expected) in [
            ("arn:aws:kinesis:us-east-5:000000000000:stream/s", true),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/s", true),
            ("arn:aws:kinesis:us-east-5:123456789012:stream/s", true),
            ("arn:aws:kinesis:us-east-1:123456789012:stream/s", false),
        ] {
            assert_eq!(
                StreamArn::parse(text).unwrap().is_sample(),
                expected,
                "{text}"
            );
        }
    }
}
