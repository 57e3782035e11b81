// A client of the protocol as a stranger would write it. It is compiled, strictly, and never run.
import type { ClientFrame, ErrorCode, RetryableErrorCode, ServerFrame } from "./orquestrador.js";

/** Every type of frame; the compiler refuses this function when one is missing. */
export function shown(frame: ServerFrame): string {
  switch (frame.type) {
    case "pong":
    case "monitoring:unsubscribed":
      return frame.type;
    case "session:ready":
      return `${frame.data.user}: ${frame.data.limits.maxFrameBytes} bytes a frame, ping every ${frame.data.heartbeatSeconds} s`;
    case "session:draining":
      return `connect again within ${frame.data.reconnectWithinMs} ms`;
    case "error":
      return frame.data.retryable ? `again in ${frame.data.retryAfterMs ?? 1000} ms` : frame.data.message;
    case "chat:message":
      return `${frame.data.role} at ${frame.data.timestamp}: ${frame.data.content}`;
    case "chat:status":
      return frame.data.status === "queued" ? `${frame.data.position ?? 0} before you` : frame.data.status;
    case "chat:streaming":
      return frame.data.done ? `${frame.data.usage?.completionTokens ?? "?"} tokens` : frame.data.chunk;
    case "chat:history":
      return frame.data.map(({ content }) => content).join("\n") + (frame.hasMore ? "…" : "");
    case "chat:cancelled":
    case "chat:resumed":
      return frame.data.status;
    case "conversation:list":
      return frame.data.conversations.map(({ title }) => title).join(frame.data.cursor ?? "");
    case "conversation:created":
    case "conversation:renamed":
      return frame.data.title;
    case "conversation:deleted":
      return frame.data.conversationId.toFixed();
    case "model:list":
      return frame.data.models.map(({ id, contextLength }) => `${id} ${contextLength ?? "?"}`).join();
    case "monitoring:subscribed":
    case "monitoring:hosts":
      return frame.data.hosts.map(({ host, status }) => `${host} ${status}`).join();
    case "metrics":
      return `${frame.data.cpu.perCore.map((usage) => usage?.toFixed() ?? "?").join()} ${frame.data.gpu[0]?.power ?? "?"} W`;
    case "monitoring:host":
      return `${frame.data.host} ${frame.data.status}`;
    case "monitoring:history":
      return frame.data.points.map((point) => point.cpuUsage ?? "?").join();
    case "task:subscribed":
    case "task:unsubscribed":
      return frame.data.taskId.toFixed();
    case "task:update":
    case "task:created":
    case "task:updated":
    case "task:cancelled":
      return `${frame.data.task.title}: ${frame.data.task.progress} % at ${frame.data.revision}`;
    case "task:list":
      return frame.data.tasks.map(({ title }) => title).join();
    default:
      return unknown(frame);
  }
}

function unknown(frame: never): string {
  return JSON.stringify(frame);
}

export const sent: ClientFrame[] = [
  { type: "ping", id: 7 },
  { type: "chat:send", id: "a", data: { message: "Olá!", options: { temperature: 0.2, stop: null } } },
  { type: "chat:history" },
  { type: "monitoring:subscribe", data: { intervalSeconds: 2, hosts: ["web-1"] } },
  { type: "task:update", data: { taskId: 1, subtasks: [{ id: 3, status: "completed" }] } },
];

export const retryable: RetryableErrorCode & ErrorCode = "busy";

// What must not compile.
// @ts-expect-error a message is needed
export const speechless: ClientFrame = { type: "chat:send", data: {} };
// @ts-expect-error no such type
export const unheardOf: ClientFrame = { type: "chat:sing" };
// @ts-expect-error no such status
export const impossible: ClientFrame = { type: "task:list", data: { status: "rejected" } };
// @ts-expect-error a code that no retry helps
export const hopeless: RetryableErrorCode = "not_found";

export function strict(frame: ServerFrame): void {
  if (frame.type === "chat:streaming") {
    // @ts-expect-error it may be missing
    frame.data.usage.completionTokens.toFixed();
  }
  if (frame.type === "metrics") {
    // @ts-expect-error it may be null
    frame.data.cpu.usage.toFixed();
    // @ts-expect-error what nobody asked for carries no id
    frame.id;
  }
}
