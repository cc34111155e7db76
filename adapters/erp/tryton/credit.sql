with recursive {{>company.sql}},
wanted as (
  select p.id, p.code
    from party_party p
   cross join company c
   where p.id = any($1) and p.active and p.code <> '' and p.id <> c.party
),
receivable as (
  select l.party, sum(l.debit - l.credit) as amount
    from account_move_line l
    join account_account a on a.id = l.account
    join account_account_type t on t.id = a.type and t.receivable
    join company c on c.company = a.company
    left join account_move_reconciliation r on r.id = l.reconciliation
   where l.party in (select id from wanted) and (l.reconciliation is null or r.date > c.today)
   group by l.party
),
-- what is ordered and not yet invoiced: line by line, never below zero
ordered as (
  select s.id, s.party, s.currency, l.unit_price,
         l.quantity::numeric
           - case when s.invoice_method <> 'fulfillment' then 0 else coalesce((
               select sum(m.quantity::numeric * moved.base / sold.base)
                 from "sale_line-ignored-stock_move" g
                 join stock_move m on m.id = g.move
                 join ({{>unit.sql}}) moved on moved.id = m.unit
                where g.sale_line = l.id), 0) end
           - coalesce((
               select sum(il.quantity::numeric * coalesce(billed.base / sold.base, 1)
                          * (case when g.invoice is not null then 1 else 0 end
                             + case when il.type = 'line' and i.move is not null then 1 else 0 end))
                 from account_invoice_line il
                 left join account_invoice i on i.id = il.invoice
                 left join "sale_sale-ignored-account_invoice" g on g.sale = s.id and g.invoice = il.invoice
                 left join ({{>unit.sql}}) billed on billed.id = il.unit
                where il.origin = 'sale.line,' || l.id), 0) as quantity
    from wanted w
    join sale_sale s on s.party = w.id and s.state in ('confirmed', 'processing')
    join company c on c.company = s.company
    join sale_line l on l.sale = s.id and l.type = 'line' and l.quantity > 0
    left join ({{>unit.sql}}) sold on sold.id = l.unit
),
rate as (
  select distinct on (r.currency) r.currency, r.rate
    from currency_currency_rate r
    join company c on r.date <= c.today
   order by r.currency, r.date desc
),
sale as (
  select o.id, o.party,
         sum(greatest(o.quantity, 0) * o.unit_price)
           * case when o.currency = c.currency_id then 1
                  else (select r.rate from rate r where r.currency = c.currency_id)
                       / (select r.rate from rate r where r.currency = o.currency) end as amount
    from ordered o
   cross join company c
   group by o.id, o.party, o.currency, c.currency_id
)
select w.id as key,
       w.code as customer,
       c.currency,
       c.rounding,
       -- a row of the customer that holds no amount means no limit; the default is for customers without a row
       case when own.present then own.amount else fallback.amount end as "limit",
       coalesce(r.amount, 0) as receivable,
       (select array_agg(s.amount order by s.id) from sale s where s.party = w.id) as sales
  from wanted w
 cross join company c
  left join receivable r on r.party = w.id
  left join lateral (
       select true as present, v.credit_limit_amount as amount
         from party_party_credit_limit_amount v
        where v.party = w.id and (v.company = c.company or v.company is null)
        order by v.company nulls last, v.id
        limit 1
       ) own on true
  left join lateral (
       select v.default_credit_limit_amount as amount
         from account_configuration_default_credit_limit_amount v
        where v.company = c.company or v.company is null
        order by v.company nulls last, v.id
        limit 1
       ) fallback on true
