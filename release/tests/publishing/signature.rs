//! AWS signatures are those of the examples in Amazon's documentation of S3.

use cairn_release::publish::{AwsKey, Canonical, Secret, signature};

const TIME: &str = "20130524T000000Z";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn check(method: &str, path: &str, query: &str, more: &[(&str, &str)], payload: &str, expected: &str) {
    let key = AwsKey {
        id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        session: None,
        region: "us-east-1".to_owned(),
    };
    let usual = [("host", "examplebucket.s3.amazonaws.com"), ("x-amz-content-sha256", payload), ("x-amz-date", TIME)];
    let mut headers: Vec<_> = usual.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    headers.sort();
    let said = signature(&key, TIME, &Canonical { method, path, query, headers: &headers, payload_sha256: payload });
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders={}, Signature={expected}",
        names.join(";")
    );
    assert_eq!(said, wanted);
}

#[test]
fn the_documented_example_of_get_object() {
    let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    check("GET", "/test.txt", "", &[("range", "bytes=0-9")], EMPTY, expected);
}

#[test]
fn the_documented_example_of_put_object() {
    let payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let expected = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    let more = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    check("PUT", "/test%24file.text", "", &more, payload, expected);
}

#[test]
fn the_documented_example_of_listing_objects() {
    let expected = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    check("GET", "/", "max-keys=2&prefix=J", &[], EMPTY, expected);
}

#[test]
fn a_secret_is_not_printed() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
}
