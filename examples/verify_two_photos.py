"""Are these two photos of the same person? Run: python examples/verify_two_photos.py A.jpg B.jpg"""

import sys

import visavis as vv


def main(a: str, b: str) -> int:
    result = vv.verify(a, b, fmr=1e-4)  # accept 1 pair of different people in 10,000
    print("the same person" if result.match else "different people")
    print(f"similarity {result.similarity:.3f}, threshold {result.threshold:.3f} at FMR {result.fmr}")
    return 0 if result.match else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:3]))
    except vv.VisavisError as error:  # no face, several faces, not an image, ...
        sys.exit(f"can't compare: {error}")
