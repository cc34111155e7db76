// A Vendure as a small wholesaler would configure it. All that differs from a run to the next comes from the environment.
const {
  bootstrap, DefaultJobQueuePlugin, DefaultLogger, DefaultSearchPlugin, JobQueueService, LogLevel, dummyPaymentHandler,
} = require("@vendure/core")
const { AssetServerPlugin } = require("@vendure/asset-server-plugin")

const { DATABASE_URL, PORT, ADMIN_PASSWORD, ASSETS } = process.env

bootstrap({
  apiOptions: { hostname: "127.0.0.1", port: Number(PORT), adminApiPath: "admin-api", shopApiPath: "shop-api" },
  authOptions: {
    tokenMethod: ["bearer", "api-key"],
    requireVerification: false,
    superadminCredentials: { identifier: "superadmin", password: ADMIN_PASSWORD },
  },
  dbConnectionOptions: { type: "postgres", url: DATABASE_URL, synchronize: true, logging: false },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Info, timestamp: false }),
  customFields: {
    Customer: [
      { name: "erpNumber", type: "string" },
      { name: "creditLimit", type: "string" },
      { name: "creditBalance", type: "int" },
      { name: "creditAvailable", type: "string" },
      { name: "creditCurrency", type: "string" },
      { name: "creditHold", type: "boolean" },
    ],
    Order: [{ name: "erpOrder", type: "text", nullable: true }],
    Product: [{ name: "erpContent", type: "text", nullable: true, public: false }],
  },
  plugins: [
    AssetServerPlugin.init({ route: "assets", assetUploadDir: ASSETS }),
    DefaultJobQueuePlugin.init({ pollInterval: 500 }),
    DefaultSearchPlugin.init({ bufferUpdates: false }),
  ],
})
  .then((app) => app.get(JobQueueService).start())
  .then(() => console.log("READY"))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
