#define UTS_RELEASE "@kernel@"
