package io.gracebeam.worker.methods.work;

/** Where long work reports how far it is, and learns that nobody wants it any more. */
public interface Progress {
  /** Ignores reports and is never canceled. */
  Progress NONE =
      new Progress() {
        @Override
        public void report(double fraction, String what) {}

        @Override
        public boolean canceled() {
          return false;
        }
      };

  /**
   * Reports progress.
   *
   * @param fraction 0 to 1
   * @param what one line
   */
  void report(double fraction, String what);

  /** Whether the work should end at the next step. */
  boolean canceled();
}
